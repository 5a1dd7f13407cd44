/* Calls to the debugger or emulator (Arm semihosting): files, text, exit. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

#define SEMIHOSTING_READ_BINARY 1
#define SEMIHOSTING_WRITE_BINARY 5

int32_t semihosting_open(const char *path, int32_t path_bytes, int32_t mode); /* handle, or -1 */
int32_t semihosting_file_bytes(int32_t handle);                               /* or -1 */
int32_t semihosting_read(int32_t handle, uint8_t *to, int32_t bytes);         /* bytes NOT read */
int32_t semihosting_seek(int32_t handle, int32_t byte);                       /* 0, or below */
int32_t semihosting_write(int32_t handle, const uint8_t *from, int32_t bytes); /* bytes NOT written */
void semihosting_print(const char *text);
void semihosting_exit(int32_t code) __attribute__((noreturn));

#endif
