/**
 * Base64 in steps of sixteen characters, in AssemblyScript. It is compiled to base64-kernel.wasm and run by
 * ../base64.ts, which handles the rest of an input (less than one step). Source and target must not overlap. Up to four
 * bytes past the end of the source are read, and up to four bytes past the end of the target are written. All addresses
 * are in bytes.
 */

/** Encodes each 12 bytes into 16 characters. `bytes` is a multiple of 12. Every 4 characters are masked with `key`. */
export function encode(from: usize, bytes: usize, to: usize, key: i32): void {
  const end = from + bytes
  const mask = i32x4.splat(key)
  const distances = v128(71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0)
  while (from < end) {
    // Each lane has three bytes, with the first byte in the highest bits; the lane's fourth byte is ignored.
    const three = v128.shuffle<u8>(v128.load(from), v128.load(from), 2, 1, 0, 0, 5, 4, 3, 3, 8, 7, 6, 6, 11, 10, 9, 9)
    // Each lane has four values of six bits, with the first value in the lowest byte.
    const six = v128.or(
      v128.or(
        v128.and(i32x4.shr_u(three, 18), i32x4.splat(0x3f)),
        v128.and(i32x4.shr_u(three, 4), i32x4.splat(0x3f00)),
      ),
      v128.or(
        v128.and(i32x4.shl(three, 10), i32x4.splat(0x3f0000)),
        v128.and(i32x4.shl(three, 24), i32x4.splat(0x3f000000)),
      ),
    )
    // The character is the value plus a distance. The index of the distance is 13 for A-Z, 0 for a-z, 1-10 for the
    // digits, 11 for +, 12 for /.
    const kind = v128.or(
      i8x16.sub_sat_u(six, i8x16.splat(51)),
      v128.and(i8x16.lt_u(six, i8x16.splat(26)), i8x16.splat(13)),
    )
    v128.store(to, v128.xor(mask, i8x16.add(six, v128.swizzle(distances, kind))))
    from += 12
    to += 16
  }
}

/**
 * Decodes each 16 characters into 12 bytes. `chars` is a multiple of 16. Returns 1 if all characters were base64, else
 * 0.
 */
export function decode(from: usize, chars: usize, to: usize): i32 {
  const end = from + chars
  const lowKinds = v128(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a)
  const highKinds = v128(0x10, 0x10, 1, 2, 4, 8, 4, 8, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10)
  const distances = v128(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0)
  const places = v128(0, 16, 1, 0, 0, 16, 1, 0, 0, 16, 1, 0, 0, 16, 1, 0)
  let wrong = i8x16.splat(0)
  while (from < end) {
    const c = v128.load(from)
    const high = i8x16.shr_u(c, 4)
    // A character is not base64 if the kinds of its low and high four bits have a bit in common.
    wrong = v128.or(
      wrong,
      v128.and(v128.swizzle(lowKinds, v128.and(c, i8x16.splat(15))), v128.swizzle(highKinds, high)),
    )
    // The high four bits of a character select the distance to its value. + and / have equal high bits but different
    // distances, so / is compared as a whole.
    const six = i8x16.add(c, v128.swizzle(distances, i8x16.add(high, i8x16.eq(c, i8x16.splat(47)))))
    // Joins two values of six bits in each half lane, then four values (24 bits) in each lane. The first character has
    // the highest bits.
    const twelve = v128.or(i16x8.shl(v128.and(six, i16x8.splat(0xff)), 6), i16x8.shr_u(six, 8))
    const bytes = i32x4.dot_i16x8_s(twelve, places)
    v128.store(to, v128.shuffle<u8>(bytes, bytes, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 7, 11, 15))
    from += 16
    to += 12
  }
  return v128.any_true(wrong) ? 0 : 1
}
