#include "trace.h"

#include "model_config.h"

#define FNV_OFFSET 2166136261u
#define FNV_PRIME 16777619u

trace_layer trace_layers[TRACE_MAX_LAYERS];

void trace_reset(void)
{
    for (int32_t i = 0; i < TRACE_MAX_LAYERS; i++) {
        trace_layers[i].rows = 0;
        trace_layers[i].hash = FNV_OFFSET;
    }
}

/* Called by the model after each row it has produced. */
void MODEL_TRACE_FUNCTION(int32_t layer, int32_t row, const int8_t *data, int32_t bytes);

void MODEL_TRACE_FUNCTION(int32_t layer, int32_t row, const int8_t *data, int32_t bytes)
{
    (void)row;
    if (layer < 0 || layer >= TRACE_MAX_LAYERS) {
        return;
    }
    uint32_t hash = trace_layers[layer].hash;
    for (int32_t i = 0; i < bytes; i++) {
        hash = (hash ^ (uint8_t)data[i]) * FNV_PRIME;
    }
    trace_layers[layer].hash = hash;
    trace_layers[layer].rows++;
}
