/** Chance as an argument: the one place that draws. */

export interface Random {
  /** A number in [0, 1). */
  next(): number
}

export const systemRandom: Random = { next: () => Math.random() }

/** A repeatable sequence from a 32-bit seed (mulberry32: small, well distributed, not for secrets). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return {
    next: () => {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), state | 1)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    },
  }
}

/** Four words for the key of the tie-breaking hash. */
export function drawTieKey(random: Random): readonly number[] {
  return [0, 1, 2, 3].map(() => Math.floor(random.next() * 2 ** 32))
}
