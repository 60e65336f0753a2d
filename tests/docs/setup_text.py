"""A page's folder gets `reviews`, a tiny classifier as transformers saves it; texts, labels and ids stand ready."""

from tests.support import texts as _made

_made.untrained().save_pretrained("reviews")
_made.tokenizer().save_pretrained("reviews")
texts, labels = _made.sentences(60)
ids = [f"review-{i}" for i in range(60)]
