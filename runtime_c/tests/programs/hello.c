/* Says hello by printf, with its arguments and a variable of its environment. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *name = getenv("NAME");
    printf("hello %s, pi is %.4f\n", name != NULL ? name : "nobody", 3.14159265);
    for (int i = 0; i < argc; i++) printf("%d: %s\n", i, argv[i]);
    fprintf(stderr, "done\n");
    return 0;
}
