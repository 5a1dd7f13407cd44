/* Where images come from and results go: io_semihosting.c, io_uart.c or io_window.c. */
#ifndef IO_H
#define IO_H

#include <stdint.h>

#include "port.h"

/* The region the input is read from, beyond the board's peripherals; 0 bytes if none. */
extern const port_region io_region;

/* Opens input and output; the number of images waiting, or -1. */
int32_t io_open(int32_t image_bytes);

/* Reads exactly `bytes`; 0, or -1 when the input ends early. */
int32_t io_read(uint8_t *to, int32_t bytes);

/* What is read next begins at that byte of the input; 0, or -1. */
int32_t io_seek(int32_t byte);

/* Ticks of the board's counter, since the program began, in which reading waited for somebody else. */
uint32_t io_waited_ticks(void);

/* Hands over the output of one image; 0, or -1 when it cannot be written. */
int32_t io_write_output(const uint8_t *from, int32_t bytes);

void io_print(const char *text);
void io_exit(int32_t code) __attribute__((noreturn));

#endif
