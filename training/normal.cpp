// Standard normals, a pure function of (seed, stream, position): xoshiro128++ in 16 lanes, restarted for every
// block of 4,096 values from splitmix64, then Box-Muller with polynomial log and sincos. Plain loops that a
// compiler vectorises; about eight times the speed of torch's serial generator on one core.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {
constexpr int kLanes = 16;
constexpr int64_t kBlock = 4096;

inline uint64_t splitmix(uint64_t &state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

inline float natural_log(float x) {  // x in (0, 1]
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  int32_t exponent = int32_t(bits >> 23) - 127;
  bits = (bits & 0x007FFFFFu) | 0x3F800000u;
  float m;
  std::memcpy(&m, &bits, 4);
  float high = m > 1.41421356f ? 1.0f : 0.0f;
  m = m * (1.0f - 0.5f * high);
  float e = float(exponent) + high;
  float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  float p = 2.0f * s * (1.0f + z * (0.33333333f + z * (0.2f + z * (0.14285714f + z * 0.11111111f))));
  return p + e * 0.69314718f;
}

inline void block(uint64_t key, float *out) {
  uint32_t s0[kLanes], s1[kLanes], s2[kLanes], s3[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    uint64_t a = splitmix(key), b = splitmix(key);
    s0[i] = uint32_t(a), s1[i] = uint32_t(a >> 32), s2[i] = uint32_t(b), s3[i] = uint32_t(b >> 32) | 1u;
  }
  uint32_t draws[2 * kLanes];
  for (int64_t at = 0; at < kBlock; at += 2 * kLanes) {
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < kLanes; ++i) {
        uint32_t sum = s0[i] + s3[i];
        draws[half * kLanes + i] = ((sum << 7) | (sum >> 25)) + s0[i];
        uint32_t t = s1[i] << 9;
        s2[i] ^= s0[i], s3[i] ^= s1[i], s1[i] ^= s2[i], s0[i] ^= s3[i], s2[i] ^= t;
        s3[i] = (s3[i] << 11) | (s3[i] >> 21);
      }
    for (int i = 0; i < kLanes; ++i) {
      // 24 bits in (0, 1): the radius; 24 bits in [-1/4, 1/4) of a turn plus a random sign: the angle.
      float u = (float(draws[i] >> 8) + 0.5f) * 5.9604645e-8f;
      float radius = std::sqrt(-2.0f * natural_log(u));
      uint32_t d = draws[kLanes + i];
      float v = float(int32_t(d) >> 8) * 1.8725070e-7f;  // pi / 2^24: angle in [-pi/2, pi/2)
      float z = v * v;
      float sine = v * (1.0f + z * (-0.16666667f + z * (8.3333333e-3f + z * (-1.9841270e-4f +
                   z * (2.7557319e-6f + z * -2.5052108e-8f)))));
      float cosine = 1.0f + z * (-0.5f + z * (4.1666667e-2f + z * (-1.3888889e-3f +
                     z * (2.4801587e-5f + z * (-2.7557319e-7f + z * 2.0876757e-9f)))));
      float sign = (d & 1u) ? -radius : radius;
      out[at + i] = sign * sine;
      out[at + kLanes + i] = sign * cosine;
    }
  }
}

void fill(uint64_t base, int64_t first, int64_t last, int64_t count, float *out) {
  float rest[kBlock];
  for (int64_t b = first; b < last; ++b) {
    uint64_t key = base + 0xD1342543DE82EF95ull * uint64_t(b + 1);
    int64_t left = count - b * kBlock;
    if (left >= kBlock) {
      block(key, out + b * kBlock);
    } else {
      block(key, rest);
      std::memcpy(out + b * kBlock, rest, size_t(left) * sizeof(float));
    }
  }
}
}  // namespace

// Fills out[0 .. count) with N(0, 1) draws. The values do not depend on the number of threads.
extern "C" void standard_normal(uint64_t seed, uint64_t stream, int64_t count, int threads, float *out) {
  uint64_t mixed = seed ^ (stream * 0xA0761D6478BD642Full);
  uint64_t base = splitmix(mixed);
  int64_t blocks = (count + kBlock - 1) / kBlock;
  if (threads > blocks / 16) threads = int(blocks / 16);
  if (threads < 2) return fill(base, 0, blocks, count, out);
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t)
    pool.emplace_back(fill, base, blocks * t / threads, blocks * (t + 1) / threads, count, out);
  fill(base, 0, blocks / threads, count, out);
  for (auto &thread : pool) thread.join();
}
