// What Verilator's FST writer asks of LZ4, so that LZ4 need not be installed: blocks of sequences,
// each a token, literals, and a match of at least four bytes further back.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

constexpr int LZ4_LEAST_MATCH = 4;
constexpr int LZ4_FARTHEST = 65535;
constexpr int LZ4_HASH_BITS = 12;
constexpr int LZ4_LAST_MATCH = 12;   // so far before the end the last match begins,
constexpr int LZ4_LAST_LITERALS = 5;  // and so far before it it ends

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// What of a length is more than its half of the token can say.
inline char* LZ4_length(char* to, int length) {
    if (length < 15) return to;
    for (length -= 15; length >= 255; length -= 255) *to++ = char(255);
    *to++ = char(length);
    return to;
}

inline char* LZ4_literals(char* to, const char* literals, int count, int more) {
    *to++ = char((count < 15 ? count : 15) << 4 | (more < 15 ? more : 15));
    to = LZ4_length(to, count);
    std::memcpy(to, literals, count);
    return to + count;
}

inline int LZ4_compress_default(const char* in, char* out, int size, int) {
    std::vector<int> seen(1 << LZ4_HASH_BITS, -1);  // by hash of four bytes: where they were last
    char* to = out;
    int literals = 0;  // where those begin that are not written yet
    for (int at = 0; at + LZ4_LAST_MATCH <= size;) {
        uint32_t four;
        std::memcpy(&four, in + at, sizeof four);
        int& slot = seen[four * 2654435761u >> (32 - LZ4_HASH_BITS)];
        const int match = slot;
        slot = at;
        if (match < 0 || at - match > LZ4_FARTHEST || std::memcmp(in + match, in + at, 4)) {
            at++;
            continue;
        }
        int length = LZ4_LEAST_MATCH;
        while (at + length < size - LZ4_LAST_LITERALS && in[match + length] == in[at + length])
            length++;
        to = LZ4_literals(to, in + literals, at - literals, length - LZ4_LEAST_MATCH);
        *to++ = char(at - match), *to++ = char((at - match) >> 8);
        to = LZ4_length(to, length - LZ4_LEAST_MATCH);
        literals = at += length;
    }
    return int(LZ4_literals(to, in + literals, size - literals, 0) - out);
}
