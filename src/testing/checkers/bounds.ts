import type { Violation } from './violation.ts'

/** A quantity that must stay within a bound. */
export interface Bounded {
  readonly node: string
  readonly what: string
  readonly value: number
  readonly max: number
}

/** Checks that every queue and map stays within its bound. */
export function checkBounds(quantities: readonly Bounded[]): Violation[] {
  return quantities
    .filter(({ value, max }) => !(value <= max))
    .map(({ node, what, value, max }) => ({
      rule: 'bounds are respected',
      message: `${node}: ${what} is ${value}; the bound is ${max}`
    }))
}
