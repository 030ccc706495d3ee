/* A driver for `lieref golden check --exe`: two-dimensional convolution and the multiplicative update in plain C.
 *
 * Usage: driver INPUT OUTPUT, both safetensors files: eight bytes of length, JSON, then the numbers. The JSON is read
 * by looking for keys, which is enough for the files lieref writes. A first argument spoils the driver on purpose:
 * --crash, --hang, --half, --silent, --wrong.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_AXES = 8, NOT_COVERED = 3 };

typedef struct { char json[1 << 16]; char *data; } file_t;
typedef struct { int axes; long shape[MAX_AXES]; const char *data; int is_double; } tensor_t;

static void fail(const char *what) { fprintf(stderr, "driver: %s\n", what); exit(1); }

static file_t read_file(const char *path) {
    static file_t f;
    FILE *in = fopen(path, "rb");
    uint64_t length;
    if (!in || fread(&length, 8, 1, in) != 1 || length >= sizeof f.json) fail("cannot read the input");
    if (fread(f.json, 1, length, in) != length) fail("cannot read the header");
    long start = ftell(in), size;
    fseek(in, 0, SEEK_END);
    size = ftell(in) - start;
    fseek(in, start, SEEK_SET);
    f.data = malloc(size + 1);
    if (fread(f.data, 1, size, in) != (size_t)size) fail("cannot read the tensors");
    fclose(in);
    return f;
}

/* Read the integers in the brackets behind a key; backslashes of JSON inside JSON are skipped. */
static int integers(const char *at, const char *key, long *out) {
    int count = 0;
    at = strstr(at, key);
    if (!at) return 0;
    at = strchr(at, '[') + 1;
    while (*at != ']') {
        if ((*at >= '0' && *at <= '9')) out[count++] = strtol(at, (char **)&at, 10);
        else at++;
    }
    return count;
}

static int find(file_t *f, const char *name, tensor_t *t) {
    char key[64];
    long offsets[2];
    snprintf(key, sizeof key, "\"%s\":{", name);
    const char *at = strstr(f->json, key);
    if (!at) return 0;
    t->is_double = strncmp(strstr(at, "\"dtype\":\""), "\"dtype\":\"F64", 12) == 0;
    t->axes = integers(at, "\"shape\"", t->shape);
    integers(at, "\"data_offsets\"", offsets);
    t->data = f->data + offsets[0];
    return 1;
}

static double get(const tensor_t *t, long i) { return t->is_double ? ((const double *)t->data)[i] : ((const float *)t->data)[i]; }

static void write_file(const char *path, const char *name, const tensor_t *t, const double *values, int half) {
    char json[512], shape[256] = "";
    long count = 1;
    for (int i = 0; i < t->axes; i++) {
        char number[32];
        count *= t->shape[i];
        snprintf(number, sizeof number, "%s%ld", i ? "," : "", t->shape[i]);
        strcat(shape, number);
    }
    long bytes = count * (t->is_double ? 8 : 4);
    uint64_t length = snprintf(json, sizeof json, "{\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[0,%ld]}}", name,
                               t->is_double ? "F64" : "F32", shape, bytes);
    while (length % 8) json[length++] = ' ';
    FILE *out = fopen(path, "wb");
    fwrite(&length, 8, 1, out);
    fwrite(json, 1, length, out);
    if (half) count /= 2;
    for (long i = 0; i < count; i++) {
        float single = (float)values[i];
        fwrite(t->is_double ? (void *)&values[i] : (void *)&single, t->is_double ? 8 : 4, 1, out);
    }
    fclose(out);
}

static double *conv(file_t *f, tensor_t *y) {
    tensor_t x, w, b;
    long s[2], p[4], d[2];
    if (!find(f, "x", &x) || !find(f, "weight", &w) || !find(f, "bias", &b)) fail("an input is missing");
    if (x.axes != 4) exit(NOT_COVERED);
    integers(f->json, "strides", s);
    integers(f->json, "pads", p);
    integers(f->json, "dilations", d);
    long groups = strtol(strstr(f->json, "groups\\\": ") + 10, NULL, 10);
    if (x.shape[1] != w.shape[1] * groups || w.shape[0] % groups) fail("channels do not fit the groups");
    long H = x.shape[2], W = x.shape[3], per_group = w.shape[1], outs = w.shape[0] / groups;
    *y = x;
    y->shape[1] = w.shape[0];
    y->shape[2] = (H + p[0] + p[2] - d[0] * (w.shape[2] - 1) - 1) / s[0] + 1;
    y->shape[3] = (W + p[1] + p[3] - d[1] * (w.shape[3] - 1) - 1) / s[1] + 1;
    if (H + p[0] + p[2] < d[0] * (w.shape[2] - 1) + 1 || W + p[1] + p[3] < d[1] * (w.shape[3] - 1) + 1) fail("the kernel does not fit");
    double *out = malloc(8 * y->shape[0] * y->shape[1] * y->shape[2] * y->shape[3]);
    long at = 0;
    for (long n = 0; n < y->shape[0]; n++)
        for (long o = 0; o < y->shape[1]; o++)
            for (long i = 0; i < y->shape[2]; i++)
                for (long j = 0; j < y->shape[3]; j++) {
                    double sum = get(&b, o);
                    for (long c = 0; c < per_group; c++)
                        for (long k = 0; k < w.shape[2]; k++)
                            for (long l = 0; l < w.shape[3]; l++) {
                                long h = i * s[0] + k * d[0] - p[0], v = j * s[1] + l * d[1] - p[1];
                                if (h < 0 || h >= H || v < 0 || v >= W) continue;
                                sum += get(&x, ((n * x.shape[1] + o / outs * per_group + c) * H + h) * W + v) *
                                       get(&w, ((o * per_group + c) * w.shape[2] + k) * w.shape[3] + l);
                            }
                    out[at++] = sum;
                }
    return out;
}

static double *hadamard(file_t *f, tensor_t *y) {
    tensor_t w, delta;
    if (!find(f, "base_weight", &w) || !find(f, "delta", &delta)) fail("an input is missing");
    long count = 1;
    for (int i = 0; i < w.axes; i++) count *= w.shape[i];
    double *out = malloc(8 * count);
    for (long i = 0; i < count; i++) out[i] = get(&w, i) * exp(get(&delta, i));
    *y = w;
    return out;
}

int main(int argc, char **argv) {
    const char *mode = argc == 4 ? argv[1] : "";
    if (argc < 3) fail("usage: driver [--mode] INPUT OUTPUT");
    file_t f = read_file(argv[argc - 2]);
    tensor_t y;
    double *out;
    const char *name;
    if (strstr(f.json, "\"op\":\"conv\"")) out = conv(&f, &y), name = "y";
    else if (strstr(f.json, "\"op\":\"hadamard\"")) out = hadamard(&f, &y), name = "weight";
    else return NOT_COVERED;
    if (!strcmp(mode, "--crash")) abort();
    if (!strcmp(mode, "--hang")) sleep(1000);
    if (!strcmp(mode, "--silent")) return 0;
    if (!strcmp(mode, "--wrong")) out[0] += 1.0;
    write_file(argv[argc - 1], name, &y, out, !strcmp(mode, "--half"));
    return 0;
}
