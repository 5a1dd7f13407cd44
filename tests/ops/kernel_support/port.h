/* What a kernel run needs from the machine it runs on. */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>

void *port_alloc(size_t bytes);                     /* 16-byte aligned, never freed but by port_release */
void port_release(void);                            /* everything allocated so far */
void port_write(const void *data, uint32_t bytes);  /* appended to the result stream */
uint32_t port_instructions(void);                   /* counter, modulo 2^32; 0 where it is unknown */

#endif
