/* Frames over the console, each sent until it is answered. docs/hardware.md has them byte for byte. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdint.h>

#define FRAME_VERSION 1u
#define FRAME_PAYLOAD_BYTES 512 /* at most */

/* What the board asks for. An answer has the type of its request and FRAME_ANSWER. */
#define FRAME_HELLO 0x01u
#define FRAME_READ 0x02u
#define FRAME_TEXT 0x03u
#define FRAME_OUTPUT 0x04u
#define FRAME_END 0x05u
#define FRAME_ANSWER 0x80u
/* The host's answer to anything: begin anew. */
#define FRAME_STOP 0x7Fu

/* Sends a request until its answer has come whole, and puts the answer's payload, which has to be of `to_bytes`
 * bytes, into `to`. Where the host wants it, or says nothing for many times, the program begins anew; only
 * FRAME_HELLO is sent for ever. */
void frame_exchange(uint8_t type, const uint8_t *from, int32_t from_bytes, uint8_t *to, int32_t to_bytes);

/* Resets the chip; whoever uses this file provides it. */
void frame_restart(void) __attribute__((noreturn));

#endif
