import type { Mutation } from './apply-batch.ts'
import type { ApplyResult } from './record-store.ts'

/** Waits for the mutations of a unit: all of them are told one after the other, and of all the same when they fail. */
export function unitDone(
  count: number,
  done: (error: Error | undefined, results: readonly ApplyResult[] | undefined) => void
): Mutation['done'] {
  const results: ApplyResult[] = []
  let failure: Error | undefined
  let left = count
  return (error, result) => {
    failure ??= error
    if (result !== undefined) results.push(result)
    if (--left === 0) done(failure, failure === undefined ? results : undefined)
  }
}
