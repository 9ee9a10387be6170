/** Chance, from a seed. Processes have streams of their own, so that a change in one does not shift all others. */
import { seededRandom } from '../../src/testing'

export class Draws {
  private readonly random: { next(): number }

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  /** A number in [0, 1). */
  next(): number {
    return this.random.next()
  }

  seed(): number {
    return Math.floor(this.next() * 2 ** 32)
  }

  fork(): Draws {
    return new Draws(this.seed())
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  between(min: number, max: number): number {
    return min + this.next() * (max - min)
  }

  /** A whole number, both bounds included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  /** Spread evenly over orders of magnitude: few are large. */
  logBetween(min: number, max: number): number {
    return min * (max / min) ** this.next()
  }

  /** The pause before the next event of a process without memory. */
  pause(meanMs: number): number {
    return Math.max(1, Math.round(-Math.log(1 - this.next()) * meanMs))
  }

  /** About normal, mean 0, deviation 1. */
  bell(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T
  }

  /** An index, by running sums of weights. */
  weighted(sums: readonly number[]): number {
    const wanted = this.next() * (sums[sums.length - 1] ?? 0)
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] as number) > wanted) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Running sums of weights, for `weighted`. */
export function runningSums(weights: readonly number[]): number[] {
  let sum = 0
  return weights.map((weight) => {
    sum += weight
    return sum
  })
}

/** The value that a share of the list does not exceed; null for an empty list. */
export function quantile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? null
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
