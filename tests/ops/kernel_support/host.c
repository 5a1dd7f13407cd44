/* Host: every buffer is a block of its own, so that AddressSanitizer sees each overrun. */
#include "port.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_BLOCKS 4096

int main(void);

static void *blocks[MAX_BLOCKS];
static int used;

void *port_alloc(size_t bytes)
{
    if (used == MAX_BLOCKS) {
        abort();
    }
    blocks[used] = malloc(bytes == 0 ? 1 : bytes);
    return blocks[used++];
}

void port_release(void)
{
    while (used > 0) {
        free(blocks[--used]);
    }
}

void port_write(const void *data, uint32_t bytes)
{
    if (fwrite(data, 1, bytes, stdout) != bytes || fflush(stdout) != 0) { /* what follows may end the program */
        abort();
    }
}

uint32_t port_instructions(void)
{
    return 0;
}
