import { KilovoltError } from './errors.ts'

/** Checks an invariant of our own code; a failure is a bug in kilovolt, never a mistake of its user. Stays on in production. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new KilovoltError('KV_INTERNAL', `broken invariant: ${invariant} (this is a bug in kilovolt)`)
}

/** Marks a branch that the types rule out. */
export function unreachable(value: never): never {
  throw new KilovoltError('KV_INTERNAL', `unexpected value: ${String(value)} (this is a bug in kilovolt)`)
}
