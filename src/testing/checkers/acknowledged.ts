import { byKey, describeOperation, type Operation } from './history.ts'
import { originsOf, overwriterOf } from './register.ts'
import type { Violation } from './violation.ts'

/**
 * Checks that no acknowledged quorum write is lost: at rest, each key holds the last one, or a write that may have come
 * after it.
 *
 * @param final - what each key holds at rest; a key that holds nothing is absent or `undefined`
 */
export function checkAcknowledged(
  operations: readonly Operation[],
  final: ReadonlyMap<string, string | undefined>
): Violation[] {
  const violations: Violation[] = []
  for (const [key, list] of byKey(operations)) {
    const writes = list.filter(({ kind, outcome }) => kind !== 'get' && outcome !== 'failed')
    const value = final.get(key)
    const origins = originsOf(value, writes)
    const candidates: (Operation | undefined)[] = value === undefined ? [undefined, ...origins] : [...origins]
    const lost = candidates.map(origin => overwriterOf(origin, writes, Infinity))
    if (lost.includes(undefined)) continue
    const which = lost[0] === undefined ? 'what nobody wrote' : `not ${describeOperation(lost[0])}`
    violations.push({
      rule: 'acknowledged writes survive',
      message: `${key} holds ${value ?? 'nothing'} at rest, ${which}`
    })
  }
  return violations
}
