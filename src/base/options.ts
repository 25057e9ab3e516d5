import { inspect } from 'node:util'
import { hasMethods, isObject } from './arguments.ts'
import { KilovoltError } from './errors.ts'

/** Most characters of a value that a message shows. */
const SHOWN_MAX = 60
/** Letters that a name may differ in and still be meant. */
const SLIPS_MAX = 2

/** A value in an error message: one line, and short. Whatever it is, it never throws. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  const text = inspect(value, { depth: 0, breakLength: Infinity, customInspect: false })
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX - 3)}…` : text
}

/**
 * Refuses what is no object of options.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertOptions(options: unknown, owner: string): asserts options is object {
  if (!isObject(options)) {
    throw new KilovoltError('KV_CONFIG', `the options of ${owner} are an object, not ${show(options)}`)
  }
}

/**
 * Refuses what is no object of options, and options that nobody knows.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertKnownOptions(options: unknown, owner: string, known: ReadonlySet<string>): void {
  assertOptions(options, owner)
  for (const option of Object.keys(options)) {
    if (!known.has(option)) throw new KilovoltError('KV_CONFIG', unknownOption(option, owner, known))
  }
}

/**
 * Refuses what is there and no `AbortSignal`; one of another realm, or of another library, is one.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertSignal(signal: unknown): void {
  if (signal === undefined) return
  const isSignal = hasMethods(signal, 'addEventListener', 'removeEventListener')
  if (!isSignal || !('aborted' in (signal as object))) {
    throw new KilovoltError('KV_CONFIG', `"signal" must be an AbortSignal, not ${show(signal)}`)
  }
}

/** What to say of an option that nobody knows. */
export function unknownOption(option: string, owner: string, known: Iterable<string>): string {
  const names = [...known]
  const near = nearest(option, names)
  const rest = near === undefined ? `there are ${names.join(', ')}` : `did you mean "${near}"?`
  return `"${option}" is not an option of ${owner}; ${rest}`
}

/** The known name that differs in at most two letters. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  return known.find(name => slips(word, name) <= SLIPS_MAX)
}

/** In how many letters two names differ, whatever their case. */
export function slips(word: string, name: string): number {
  return editDistance(word.toLowerCase(), name.toLowerCase())
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
