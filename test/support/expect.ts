import assert from 'node:assert/strict'

/** Of the matchers that suites written for vitest use those that the ones run here need. */
export interface Matchers {
  toBe(expected: unknown): void
  toBeDefined(): void
  toBeFalsy(): void
  toBeNull(): void
  toBeTruthy(): void
  toBeUndefined(): void
  toEqual(expected: unknown): void
}

/** `expect` of one case; {@link Expect.finish} sees to what the case has announced. */
export interface Expect {
  (actual: unknown): Matchers
  /** Announces how many expectations the case has. */
  assertions(count: number): void
  /** To be called at the end of the case. */
  finish(): void
}

/** An `expect` that counts. */
export function createExpect(): Expect {
  let made = 0
  let announced: number | undefined
  const expect = (actual: unknown): Matchers => {
    made += 1
    return {
      toBe: expected => assert.equal(actual, expected),
      toBeDefined: () => assert.notEqual(actual, undefined),
      toBeFalsy: () => assert.ok(!actual, `${String(actual)} is not falsy`),
      toBeNull: () => assert.equal(actual, null),
      toBeTruthy: () => assert.ok(actual, `${String(actual)} is not truthy`),
      toBeUndefined: () => assert.equal(actual, undefined),
      toEqual: expected => assert.deepEqual(actual, expected)
    }
  }
  return Object.assign(expect, {
    assertions: (count: number) => void (announced = count),
    finish: () =>
      assert.ok(announced === undefined || made === announced, `${made} expectations, ${announced} announced`)
  })
}
