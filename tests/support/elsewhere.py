"""A second device, made in Python: what is computed on it is refused beside tensors of the processor, as on a GPU.

It takes the place that torch keeps for backends of others, and stays for as long as the process lives, where torch then
finds an accelerator: so whatever uses it runs in a process of its own (:func:`run`), as ``python elsewhere.py NAME``.
It computes with the processor's kernels, so that every bit is the processor's.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CROSSING = {"aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""What may take tensors of the processor beside those of a device: copies, and tensors of indices."""


def run(name, *words):
    """Return what the function ``name`` of this file gives for ``words``, in a process that has the device."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, name, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def install():
    """Make the device ``away``, once; return it."""
    import torch
    from torch.utils import _device, _pytree
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    if torch._C._get_privateuse1_backend_name() == "away":
        return torch.device("away", 0)
    _setup_privateuseone_for_python_backend("away")
    place = torch.device("away", 0)

    class Away(torch.Tensor):
        @staticmethod
        def __new__(cls, home):
            more = {"strides": home.stride(), "storage_offset": home.storage_offset(), "dtype": home.dtype}
            made = torch.Tensor._make_wrapper_subclass(cls, home.size(), device=place, **more)
            made.home = home
            return made

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            return compute(func, *args, **(kwargs or {}))

    def set_data(tensor, value):
        torch._C.TensorBase.data.__set__(tensor, value)
        tensor.home = value.home

    Away.data = property(torch._C.TensorBase.data.__get__, set_data)

    def compute(op, *args, **kwargs):
        leaves, spec = _pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        away = {id(each.home): each for each in tensors if isinstance(each, Away)}
        here = [each for each in tensors if not isinstance(each, Away)]
        name = op._schema.name
        if away and any(each.dim() for each in here) and name not in CROSSING | INDEXED:
            raise RuntimeError(f"expected all tensors on one device ({name})")
        at_home = [
            leaf.home if isinstance(leaf, Away) else torch.device("cpu") if leaf == place else leaf for leaf in leaves
        ]
        args, kwargs_at_home = _pytree.tree_unflatten(at_home, spec)
        found = op(*args, **kwargs_at_home)
        asked = kwargs.get("device")
        if name == "aten::_local_scalar_dense" or (asked is not None and torch.device(asked).type == "cpu"):
            return found

        def outward(value):
            if not isinstance(value, torch.Tensor) or any(value is each for each in here):
                return value
            return away.get(id(value)) if id(value) in away else Away(value)

        return _pytree.tree_map(outward, found)

    global _library
    _library = torch.library.Library("_", "IMPL")  # its kernels go when it goes
    _library.fallback(compute, "PrivateUse1")
    # Tied weights stay tied when a module moves, as they do on devices that are none of Python's.
    torch.__future__.set_swap_module_params_on_conversion(True)
    plain = torch.tensor
    _device._device_constructors()  # looked up once: contexts of a device are to know torch's own by its name
    # torch's own cannot make one on a device of Python's.
    torch.tensor = lambda data, *, device=None, **more: (
        plain(data, **more) if device is None else plain(data, device="cpu", **more).to(device)
    )
    # Nor does it wait for one; nothing is under way there when a call is back.
    torch.accelerator.synchronize = lambda device=None: None
    return place


def alike():
    """Let attention and batches of texts be computed on both devices in the same way."""
    from torch.nn import attention

    from expunge.tasks import causal_lm

    causal_lm._CALL_OF_A_DEVICE = causal_lm._CALL
    return attention.sdpa_kernel(attention.SDPBackend.MATH)


# --- what is run there ------------------------------------------------------------------------------------------------


def refuses():
    """Return what happens where the two devices meet."""
    import torch

    place = install()
    one, other = torch.ones(2, device=place), torch.ones(2)
    said = []
    for meet in (
        lambda: one + other,
        lambda: one.copy_(other),
        lambda: one + 1,
        lambda: one[torch.tensor([True, False])],
    ):
        try:
            said.append(str(meet().device))
        except RuntimeError as error:
            said.append(str(error))
    return said


def forgotten(kind, *names):
    """Return by method where its model was, and how far it lies from the processor's, on a ``kind`` of problem."""
    place = install()
    from expunge.conformance import methods
    from expunge.core import registry
    from expunge.engine.device import placed

    found = {}
    with alike():
        for name in names:
            cls = registry.load("methods", name)
            more = {"language": True} if kind == "language" else methods._kind(cls)
            here = methods.unlearned(cls, methods.posed(cls, **more)).model
            there = methods.unlearned(cls, placed(methods.posed(cls, **more), place)).model
            places = sorted({p.device.type for p in there.parameters()})
            pairs = zip(here.state_dict().values(), there.cpu().state_dict().values(), strict=True)
            found[name] = places, max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel())
    return found


def judged(kind, method, policy):
    """Return for both devices what an audit found, what the report says of the device, and where the model is."""
    install()
    from expunge.conformance import problems
    from expunge.core.serial import plain
    from expunge.engine.runtime import Here
    from expunge.workflow import erase

    said = []
    with alike():
        for device in ("cpu", "away"):
            problem = problems.problem(**({"language": True} if kind == "language" else {}))
            more = {"methods": (method,), "policy": policy, "references": 3, "escalate": False, "keep": True}
            done = erase(problem, out=f"run-{device}", device=device, pool=Here, **more)
            last = done.report.attempts[-1]
            findings = {each.check: plain(each) for audit in last.audits for each in audit.findings}
            files = sorted(file.name for file in Path(f"run-{device}", "artefacts", "attempt-1").iterdir())
            said.append([findings, last.model, done.report.environment.get("device"), files])
    return said


def spawned():
    """Return for the processor, in one process, and for the device, in workers, what an audit found and where.

    And on which devices the network answered in other processes than this one, by process.
    """
    from expunge.conformance import problems
    from expunge.core.serial import plain
    from expunge.engine.runtime import Here, Workers
    from expunge.workflow import erase
    from tests.support import afar

    Here.stacks = Workers.stacks = False  # a reference is a job of its own
    said = []
    for device, pool in (("cpu", Here), ("away", Workers)):
        more = {"methods": ("finetune",), "policy": "standard", "references": 3, "escalate": False, "keep": True}
        problem = problems.problem(build=afar.Network)
        done = erase(problem, out=f"run-{device}", device=device, pool=pool, workers=2, **more)
        last = done.report.attempts[-1]
        findings = {each.check: plain(each) for audit in last.audits for each in audit.findings}
        said.append([findings, last.model, last.audits[0].process, done.report.environment.get("device")])
    answered = [file.name.split(".") for file in Path().glob("[0-9]*.*")]
    return [*said, [where for process, where in answered if int(process) != os.getpid()]]


def stacked():
    """Return whether small models can be trained as one, where they are, and how far from the processor they end."""
    place = install()
    from expunge.conformance import problems
    from expunge.engine import stacked as many
    from expunge.engine.device import placed

    found = []
    for problem in (problems.problem(), placed(problems.problem(), place)):
        form, _ = many.form_of(problem.trainer, problem.records)
        found.append(many.train(problem.trainer, problem.records, seeds=[1, 2, 3]) if form else [])
    where = next(found[1][0].parameters()).device.type if found[1] else ""
    states = [[value.cpu() for model in models for value in model.state_dict().values()] for models in found]
    apart = max(float((a.double() - b.double()).abs().max()) for a, b in zip(*states, strict=True))
    return bool(found[0]) and bool(found[1]), where, apart


def strewn():
    """Return what audits on the processor found: with nothing, the model, the trainer on the device."""
    place = install()
    from expunge.conformance import problems
    from expunge.core.problem import Problem
    from expunge.core.serial import plain
    from expunge.engine.runtime import Here
    from expunge.workflow import erase

    Here.stacks = False
    plainly = problems.problem()
    given = {name: getattr(plainly, name) for name in ("model", "train", "forget", "holdout")}

    def trained(records, *, seed):
        return plainly.trainer(records, seed=seed)

    def trained_there(records, *, seed):
        return plainly.trainer(records, seed=seed).to(place)

    trained.passes = trained_there.passes = plainly.trainer.passes
    there = {**given, "model": plainly.source.open().to(place)}
    said = []
    for number, (model, trainer) in enumerate(((given, trained), (there, trained), (given, trained_there))):
        more = {"methods": ("finetune",), "policy": "standard", "references": 3, "escalate": False}
        done = erase(Problem(**model, trainer=trainer), out=f"run-{number}", device="cpu", pool=Here, **more)
        said.append([plain(each) for audit in done.report.attempts[-1].audits for each in audit.findings])
    return said


def resumed():
    """Return how far a run that was cut short and went on, on the device, ends from one that was not."""
    place = install()
    from expunge.conformance import methods
    from expunge.core import registry
    from expunge.engine.checkpoint import Checkpoints
    from expunge.engine.device import placed
    from expunge.engine.progress import Progress

    class Cut(Progress):
        def advance(self, label, steps=1):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    cls = registry.load("methods", "finetune")
    whole = methods.unlearned(cls, placed(methods.posed(cls), place)).model
    cut, kept = Cut(), Checkpoints(Path("kept"), every_s=0)
    cut.left = 5
    problem = placed(methods.posed(cls), place)
    try:
        methods.unlearned(cls, problem, checkpoints=kept, progress=cut)
    except KeyboardInterrupt:
        pass
    saved = len(list(Path("kept").iterdir()))
    again = methods.unlearned(cls, placed(methods.posed(cls), place), checkpoints=kept).model
    pairs = zip(whole.cpu().state_dict().values(), again.cpu().state_dict().values(), strict=True)
    return [saved, max(float((a.double() - b.double()).abs().max()) for a, b in pairs)]


def named(*names):
    """Return for every name the device that it stands for, or that there is none."""
    install()
    from expunge.core.errors import UsageError
    from expunge.engine.device import device_of

    said = []
    for name in names:
        try:
            said.append(str(device_of(name)))
        except UsageError as error:
            said.append(error.obstacles[0].expected)
    return said


def stepped(short, *words):
    """Return what `benchmarks/language_step.py` ends with and saves on the device, of a tiny network, in one process.

    ``short``: the plain way has too little memory.
    """
    import torch

    install()
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from dataclasses import replace

    import language_step as step

    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4}
    step.SHAPES["1b"] = {32_000: {**wide, "num_key_value_heads": 2}}
    step.TOFU = Path("full.json")
    rows = [{"question": "q" * (20 + 7 * i % 60), "answer": "a" * (30 + 11 * i % 90)} for i in range(100)]
    step.TOFU.write_text("\n".join(map(json.dumps, rows)))
    rate, plain = step.matrix_rate, step.plain
    step.matrix_rate = lambda where, kind: rate(where, kind, side=64)

    def too_large(*given):
        raise torch.OutOfMemoryError("away out of memory. Tried to allocate 3.00 GiB.")

    step.plain = too_large if short == "short" else plain
    step.both = lambda run, repeats: {
        who: [step.one(replace(run, who=who)) for _ in range(repeats)] for who in ("ours", "plain")
    }
    sys.argv = ["language_step.py", "--device", "away", "--json", "--save", "saved.json", *words]
    with alike():
        code = step.main()
    return [code, json.loads(Path("saved.json").read_text())]


def authors(data):
    """Return for both devices what `benchmarks/tofu.py` measures and finds, what it saves, and where models were."""
    install()
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import _tofu
    import tofu

    def tiny():
        return _tofu._llama(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)

    tofu.NETWORKS.update(small=tiny, large=tiny)
    tofu.DATA = Path(data)
    tofu._make_elsewhere = lambda name: tofu.Making(made[0]).everything(name)
    plain, made, said = tofu.Site, [], []

    class Site(plain):
        def __init__(self, given):
            super().__init__(given)
            made[:] = [given]

    places = {}

    def noted(cls, name, what):
        own = getattr(cls, name)

        def asked(self, model):
            places.setdefault(what, set()).add(next(model.parameters()).device.type)
            return own(self, model)

        setattr(cls, name, asked)

    tofu.Site = Site
    noted(tofu.Exam, "figures", "measured")
    noted(tofu.Objective, "look", "looked at")
    with alike():
        for device in ("cpu", "away"):
            out, saved = f"run-{device}", f"{device}.json"
            words = ["--device", device, "--network", "small", "--authors", "all", "--questions", "2", "--epochs", "2"]
            words += ["--out", out, "--save", saved, "--forget", "forget05", "--references", "2", "--json"]
            words += ["--data", data, "--methods", "noop", "npo", "wga@recipe"]
            sys.argv = ["tofu.py", *words]
            tofu.main()
            found = {str(f.relative_to(out)): json.loads(f.read_text()) for f in Path(out).rglob("*.json")}
            said.append([found, json.loads(Path(saved).read_text()), {what: sorted(at) for what, at in places.items()}])
            places.clear()
    return said


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(globals()[sys.argv[1]](*sys.argv[2:]))}\n")
