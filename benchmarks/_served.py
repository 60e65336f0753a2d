"""Answers of vLLM, as JSON; run by the interpreter of an environment that has it and needs nothing of expunge.

python _served.py MODEL LENGTH < [prompts as JSON]
    LENGTH: tokens of an answer. A directory of adapters is laid on the base that its ``adapter_config.json`` names.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Print a list with {"prompt", "tokens", "log_probabilities"} of every answer, in the order of the prompts."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    folder, length = sys.argv[1], int(sys.argv[2])
    prompts = json.load(sys.stdin)
    adapters = Path(folder, "adapter_config.json")
    more, beside = {}, None
    if adapters.is_file():
        said = json.loads(adapters.read_text())
        beside = LoRARequest("adapters", 1, folder)
        more = {"enable_lora": True, "max_lora_rank": said["r"]}
        folder = said["base_model_name_or_path"]
    # Weights in float32 whatever they are kept in: what is asked is whether the same numbers are found.
    model = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=128, max_num_seqs=16, **more)
    asked = SamplingParams(temperature=0.0, max_tokens=length, logprobs=0)
    found = [
        {
            "prompt": list(one.prompt_token_ids),
            "tokens": list(one.outputs[0].token_ids),
            "log_probabilities": [
                at[token].logprob for token, at in zip(one.outputs[0].token_ids, one.outputs[0].logprobs, strict=True)
            ],
        }
        for one in model.generate(prompts, asked, lora_request=beside, use_tqdm=False)
    ]
    print("\n" + json.dumps(found))


if __name__ == "__main__":  # vLLM starts processes that import this file
    main()
