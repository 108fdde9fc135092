// Words and numbers of the load clients' command lines.
#ifndef WORDS_H
#define WORDS_H
#include <stdlib.h>
#include <string.h>
#include "clocks.h"

// @returns which of some words it is
static inline int which(const char *flag, const char *word, const char *const *words) {
  for (int i = 0; words[i] != NULL; i++) {
    if (strcmp(word, words[i]) == 0) return i;
  }
  die("--%s does not take %s", flag, word);
  return 0;
}

static inline double number(const char *flag, const char *text, double min, double max) {
  char *end;
  double value = strtod(text, &end);
  if (*text == 0 || *end != 0 || !(value >= min && value <= max)) {
    die("--%s is %g to %g, not %s", flag, min, max, text);
  }
  return value;
}

#endif
