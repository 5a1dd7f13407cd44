/* What firmware does with a streaming model: one state for a stream, one run for each frame. Frames come from stdin. */
#include <stdio.h>

#include "chirp.h"

#define FRAME_BYTES (CHIRP_INPUT_HEIGHT * CHIRP_INPUT_WIDTH * CHIRP_INPUT_CHANNELS)

static uint8_t arena[CHIRP_ARENA_BYTES] __attribute__((aligned(8)));
static chirp_state state; /* one for each microphone, if there are several */

/* The model asks for the rows of a frame one by one. */
static const uint8_t *frame_row(void *user, int32_t y)
{
    return (const uint8_t *)user + y * (CHIRP_INPUT_WIDTH * CHIRP_INPUT_CHANNELS);
}

int main(void)
{
    static uint8_t frame[FRAME_BYTES];
    chirp_output out;
    chirp_reset(&state); /* and again wherever a new stream begins */
    for (int n = 0; fread(frame, sizeof frame, 1, stdin) == 1; ++n) {
        if (chirp_run(arena, &state, frame_row, frame, &out) != CHIRP_OK) {
            return 1;
        }
        if (out.logits[0] > 0 || out.logits[1] > 0) { /* 0 stands for a probability of one half */
            printf("frame %d: %s\n", n, out.logits[0] > 0 ? "rising" : "falling");
        }
    }
    return 0;
}
