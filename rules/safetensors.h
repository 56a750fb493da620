/* safetensors.h - the header of a safetensors file: which tensors, how large (model-hubs.md section 9). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct arena;

struct tensor {
	const char *name;
	const char *dtype;    /* "BF16" */
	uint64_t begin, end;  /* within the data behind the header */
	size_t dimensions;
	uint64_t elements;
};

/* Length of the header from the first 8 bytes of the file. E0605 if no safetensors file starts like that. */
bool safetensors_length(const unsigned char bytes[8], uint64_t *length, struct error *err);

/* The tensors in order of their data. E0605 unless they cover the data from its beginning to `data_size` (UINT64_MAX: not known) without hole or overlap,
 * each as many bytes as its shape and type say. */
bool safetensors_read(const char *header, size_t size, uint64_t data_size, struct arena *arena, struct tensor **tensors, size_t *count, struct error *err);
