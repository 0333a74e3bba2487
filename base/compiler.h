/* compiler.h: the attributes the house style uses, named once. */
#ifndef JITNEY_BASE_COMPILER_H
#define JITNEY_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
/* clang-format off */
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
/* clang-format on */
#define countof(array) (sizeof(array) / sizeof((array)[0]))

#endif
