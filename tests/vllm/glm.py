"""A small model of GLM-4.1V's structure with random weights, and a tokenizer that knows its special tokens: glm.py DIR.

Everything is made here; nothing is fetched. The dimensions are those of the real model divided, so that the same tensor parallel sizes work and fail."""

import json
import string
import sys
from pathlib import Path

SPECIAL = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
           "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>", "<|video|>"]
TEMPLATE = """[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>
{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'video' %}\
<|begin_of_video|><|video|><|end_of_video|>{% else %}<|begin_of_image|><|image|><|end_of_image|>{% endif %}{% endfor %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
VOCABULARY = 1024
# A quarter of the real model's 32 heads, as many KV heads; heads of 64 as its 128 would make the model four times as large.
TEXT = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 1712, "vocab_size": VOCABULARY,
        "max_position_embeddings": 8192, "rope_scaling": {"rope_type": "default", "mrope_section": [4, 6, 6]}, "partial_rotary_factor": 0.5}
VISION = {"depth": 2, "hidden_size": 192, "num_heads": 3, "intermediate_size": 1712, "out_hidden_size": 512, "image_size": 336, "patch_size": 14}
LARGEST_IMAGE = 112 * 112 * 2


def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|endoftext|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL[1:])
    fast.image_token, fast.video_token = "<|image|>", "<|video|>"
    return fast


def picture(path):
    from PIL import Image

    Image.effect_mandelbrot((112, 112), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(path)


def make(directory, **text):
    """`text`: dimensions of the language model other than those above."""
    import torch
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration, Glm4vImageProcessor, Glm4vProcessor
    from transformers.models.glm4v.video_processing_glm4v import Glm4vVideoProcessor

    torch.manual_seed(1)
    words = tokenizer()
    ids = {name: words.convert_tokens_to_ids(f"<|{token}|>") for name, token in {
        "image_token_id": "image", "video_token_id": "video", "image_start_token_id": "begin_of_image", "image_end_token_id": "end_of_image",
        "video_start_token_id": "begin_of_video", "video_end_token_id": "end_of_video"}.items()}
    config = Glm4vConfig(text_config=TEXT | text, vision_config=VISION | {"out_hidden_size": (TEXT | text)["hidden_size"]}, tie_word_embeddings=False, eos_token_id=words.eos_token_id,
                         pad_token_id=words.pad_token_id, **ids)
    model = Glm4vForConditionalGeneration(config).to(torch.bfloat16)
    # Of all tokens only letters can win: an answer of anything else reads as empty, and provision would be right to refuse it.
    letters = [words.convert_tokens_to_ids(letter) for letter in string.ascii_letters]
    with torch.no_grad():
        kept = model.lm_head.weight[letters].clone()
        model.lm_head.weight.zero_()[letters] = kept
    model.save_pretrained(directory, max_shard_size="8MB")
    size = {"shortest_edge": 56 * 56, "longest_edge": LARGEST_IMAGE}
    Glm4vProcessor(image_processor=Glm4vImageProcessor(size=size), tokenizer=words, video_processor=Glm4vVideoProcessor(size=size),
                   chat_template=TEMPLATE).save_pretrained(directory)
    words.chat_template = TEMPLATE
    words.save_pretrained(directory)
    (Path(directory) / "generation_config.json").write_text(json.dumps({"do_sample": False, "eos_token_id": words.eos_token_id}))


if __name__ == "__main__":
    make(sys.argv[1])
