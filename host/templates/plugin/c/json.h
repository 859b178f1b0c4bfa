/* Reads what a plugin needs of JSON that the host has written: it is well-formed, and the instance lives
 * for one call, so nothing is given back. What is cut short or of another type is "not there". */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A piece of text: the JSON of one value, or a decoded string. */
typedef struct {
    const char *at;
    size_t len;
} text;

static inline bool text_is(text one, const char *other) {
    return one.len == strlen(other) && memcmp(one.at, other, one.len) == 0;
}

static inline bool text_equals(text one, text other) {
    return one.len == other.len && memcmp(one.at, other.at, one.len) == 0;
}

static inline size_t json_spaces(text json, size_t i) {
    while (i < json.len && strchr(" \t\r\n", json.at[i]) && json.at[i]) i++;
    return i;
}

/* Behind the string that begins at i. */
static inline size_t json_behind_string(text json, size_t i) {
    for (i++; i < json.len && json.at[i] != '"'; i++) {
        if (json.at[i] == '\\') i++;
    }
    return i < json.len ? i + 1 : json.len;
}

/* Behind the value that begins at i. */
static inline size_t json_behind(text json, size_t i) {
    size_t depth = 0;
    while (i < json.len) {
        char c = json.at[i];
        if (c == '"') {
            i = json_behind_string(json, i);
            if (depth == 0) return i;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') {
            if (depth == 0) return i;
            if (--depth == 0) return i + 1;
        }
        if (depth == 0 && (c == ',' || c == ':' || strchr(" \t\r\n", c))) return i;
        i++;
    }
    return json.len;
}

static inline int json_hex(text json, size_t i) {
    int number = 0;
    for (size_t n = i; n < i + 4; n++) {
        char c = n < json.len ? json.at[n] : 'x';
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        number = number * 16 + digit;
    }
    return number;
}

static inline size_t json_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The text of a JSON string. */
static inline bool json_string(text json, text *decoded) {
    if (json.len < 2 || json.at[0] != '"' || json.at[json.len - 1] != '"') return false;
    char *to = malloc(json.len);
    if (!to) abort();
    size_t len = 0;
    for (size_t i = 1; i + 1 < json.len; i++) {
        char c = json.at[i];
        if (c != '\\') {
            to[len++] = c;
            continue;
        }
        if (++i + 1 >= json.len) return false;
        switch (json.at[i]) {
        case 'b': to[len++] = '\b'; break;
        case 'f': to[len++] = '\f'; break;
        case 'n': to[len++] = '\n'; break;
        case 'r': to[len++] = '\r'; break;
        case 't': to[len++] = '\t'; break;
        case 'u': {
            int high = json_hex(json, i + 1);
            if (high < 0) return false;
            i += 4;
            uint32_t point = (uint32_t)high;
            if (high >= 0xd800 && high < 0xdc00) {
                int low = i + 2 < json.len && json.at[i + 1] == '\\' && json.at[i + 2] == 'u' ? json_hex(json, i + 3) : -1;
                if (low < 0xdc00 || low > 0xdfff) return false;
                point = 0x10000 + ((point - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
                i += 6;
            }
            len += json_utf8(to + len, point);
            break;
        }
        default: to[len++] = json.at[i];
        }
    }
    *decoded = (text){to, len};
    return true;
}

/* The next item of an array; *i is 0 before the first. */
static inline bool json_next(text array, size_t *i, text *item) {
    if (*i == 0) {
        if (array.len < 2 || array.at[0] != '[') return false;
        *i = 1;
    }
    size_t start = json_spaces(array, *i);
    if (start < array.len && array.at[start] == ',') start = json_spaces(array, start + 1);
    if (start >= array.len || array.at[start] == ']') return false;
    size_t end = json_behind(array, start);
    if (end <= start) return false;
    *item = (text){array.at + start, end - start};
    *i = end;
    return true;
}

/* A member of an object; of several with one name the last. */
static inline bool json_member(text object, const char *name, text *value) {
    size_t i = json_spaces(object, 0);
    bool found = false;
    if (i >= object.len || object.at[i] != '{') return false;
    i++;
    for (;;) {
        i = json_spaces(object, i);
        if (i < object.len && object.at[i] == ',') i = json_spaces(object, i + 1);
        if (i >= object.len || object.at[i] != '"') return found;
        size_t end = json_behind_string(object, i);
        text key;
        bool wanted = json_string((text){object.at + i, end - i}, &key) && text_is(key, name);
        i = json_spaces(object, end);
        if (i >= object.len || object.at[i] != ':') return false;
        i = json_spaces(object, i + 1);
        end = json_behind(object, i);
        if (end <= i) return false;
        if (wanted) {
            *value = (text){object.at + i, end - i};
            found = true;
        }
        i = end;
    }
}

/* A number without sign, point and exponent. */
static inline bool json_number(text json, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < json.len; i++) {
        if (json.at[i] < '0' || json.at[i] > '9' || *number > (UINT64_MAX - 9) / 10) return false;
        *number = *number * 10 + (uint64_t)(json.at[i] - '0');
    }
    return json.len > 0;
}

#endif
