/* One FNV-1a hash per layer over its rows in order, so that two engines can be compared layer by layer. */
#ifndef TRACE_H
#define TRACE_H

#include <stdint.h>

#define TRACE_MAX_LAYERS 512

typedef struct {
    uint32_t rows;
    uint32_t hash;
} trace_layer;

extern trace_layer trace_layers[TRACE_MAX_LAYERS];

void trace_reset(void);

#endif
