"""What vLLM itself says of a configuration: its own checks, and its own layers on the meta device, for every rank of a shape, without weights and without a GPU."""

import contextlib
import copy
import logging
import os

# Before vLLM is imported: it reads them then.
os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", TOKENIZERS_PARALLELISM="false")

import torch  # noqa: E402
from transformers import AutoConfig, DeepseekV3Config, PretrainedConfig  # noqa: E402
from vllm.attention.backends.abstract import AttentionBackend  # noqa: E402
from vllm.config import CacheConfig, DeviceConfig, ModelConfig, ParallelConfig, VllmConfig  # noqa: E402
from vllm.distributed import parallel_state  # noqa: E402
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase  # noqa: E402
from vllm.model_executor.model_loader.utils import initialize_model  # noqa: E402
from vllm.model_executor.models import registry  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.utils.torch_utils import set_default_torch_dtype  # noqa: E402
from vllm.v1.attention.backends.utils import AttentionMetadataBuilder  # noqa: E402
from vllm.v1.kv_cache_interface import AttentionSpec, MambaSpec  # noqa: E402

logging.disable(logging.ERROR)


class NoKernels(AttentionBackend):
    """An attention backend without kernels, of which the CPU has none for a latent cache: they are not asked anything here. Layers keep all their checks."""

    accept_output_buffer = True
    get_name = staticmethod(lambda: "CPU_ATTN")
    get_impl_cls = staticmethod(lambda: lambda *arguments, **options: torch.nn.Identity())
    get_builder_cls = staticmethod(lambda: AttentionMetadataBuilder)
    get_kv_cache_shape = staticmethod(lambda *arguments: None)


def no_kernels(*arguments, **options):
    return f"{__name__}.NoKernels"


type(current_platform).get_attn_backend_cls = classmethod(no_kernels)
# Where some layers put their tables of angles, beside those that lie on the default device.
type(current_platform).device_type = "meta"
type(current_platform).current_device = staticmethod(lambda: "meta")
# The question is asked of thousands of shapes: in this process, not in one of its own for each class.
registry._run_in_subprocess = lambda inspect: inspect()


class NoNumbers(torch.overrides.TorchFunctionMode):
    """Slopes of ALiBi are made as tensors and read back: on the meta device they are zeros, and nobody computes with them."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function is torch.Tensor.tolist and arguments[0].is_meta:
            return torch.zeros(arguments[0].shape, device="cpu").tolist()
        return function(*arguments, **(options or {}))


class Members:
    """What stands for torch's own group."""

    def __init__(self, ranks, place):
        self.size, self.rank = lambda: len(ranks), lambda: place


class Group(parallel_state.GroupCoordinator):
    """One rank's view of a group that has no other members: whoever builds layers asks for its size and the rank's place."""

    def __init__(self, ranks, rank):
        self.unique_name, self.ranks, self.rank, self.local_rank = "asked", ranks, rank, rank
        self.world_size, self.rank_in_group = len(ranks), ranks.index(rank)
        self.cpu_group = self.device_group = Members(ranks, self.rank_in_group)
        self.device_communicator = self.mq_broadcaster = None
        self.use_device_communicator, self.device = False, torch.device("meta")


@contextlib.contextmanager
def standing_at(tensor, pipeline, stage):
    """As the first rank of a stage; ranks of one stage lie side by side, as vLLM numbers them."""
    rank, alone = stage * tensor, [stage * tensor]
    groups = {"_WORLD": range(tensor * pipeline), "_TP": range(rank, rank + tensor), "_PP": range(0, tensor * pipeline, tensor),
              "_EP": range(rank, rank + tensor), "_DP": alone, "_DCP": alone, "_PCP": alone}
    for name, ranks in groups.items():
        setattr(parallel_state, name, Group(list(ranks), rank))
    yield
    for name in groups:
        setattr(parallel_state, name, None)


def register_types():
    """Types whose class comes with the repository's own code, which is not fetched here: Kimi's is that of DeepSeek, the other's keeps what the file says."""
    class Kimi(DeepseekV3Config):
        model_type = "kimi_k2"

    class MiniMax(PretrainedConfig):
        model_type = "minimax_m2"

    for config in (Kimi, MiniMax):
        AutoConfig.register(config.model_type, config)


register_types()


def model_config(directory, encoder):
    # `auto` would take half precision too, and ask a hub for the headers of the weights where the file names no type.
    return ModelConfig(model=str(directory), skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True, **({"mm_encoder_tp_mode": encoder} if encoder else {}))


def figures(config, model):
    """Bytes of weights and bytes of KV cache for one token, of one rank; None where layers keep a state."""
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    token = 0
    for layer in config.compilation_config.static_forward_context.values():
        spec = layer.get_kv_cache_spec(config) if isinstance(layer, AttentionLayerBase) else None
        if isinstance(spec, MambaSpec) or token is None:
            token = None
        elif isinstance(spec, AttentionSpec):
            token += spec.page_size_bytes // spec.block_size
    return weights, token


def one_line(error):
    """The text that vLLM ends with, without what pydantic wraps around it."""
    text = next((line.strip() for line in str(error).split("\n") if line.strip() and "validation error" not in line), "")
    return f"{type(error).__name__}: {text.removeprefix('Value error, ').split(' [type=')[0]}".removesuffix(": ")[:160]


def classes():
    """(name, has pipeline stages, may keep its encoder whole or None without one) of all classes that generate text on their own."""
    for name in sorted(registry.ModelRegistry.get_supported_archs()):
        # Drafts of speculative decoding, and Transformers' own models behind a common face.
        if any(word in name for word in ("Eagle", "MTP", "Medusa", "Terratorch")) or name.startswith("Transformers"):
            continue
        info = registry.ModelRegistry._try_inspect_model_cls(name)
        if info and info.is_text_generation_model:
            yield name, info.supports_pp, info.supports_multimodal_encoder_tp_data if info.supports_multimodal else None


def ask(model, tensor, pipeline):
    """(None, weights, token) if all ranks of the shape can be built, else (what vLLM says, None, None)."""
    try:
        parallel = ParallelConfig(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline, distributed_executor_backend="mp")
        fullest = [0, 0]
        for stage in range(pipeline):
            config = VllmConfig(model_config=copy.deepcopy(model), parallel_config=parallel, cache_config=CacheConfig(swap_space=0), device_config=DeviceConfig("cpu"))
            with standing_at(tensor, pipeline, stage), set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), NoNumbers():
                weights, token = figures(config, initialize_model(config))
            fullest = [max(fullest[0], weights), None if token is None or fullest[1] is None else max(fullest[1], token)]
    except Exception as error:  # noqa: BLE001 (whatever stops a worker refuses the shape; the text is kept)
        return one_line(error), None, None
    return None, *fullest
