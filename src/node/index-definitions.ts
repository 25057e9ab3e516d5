import { createHash } from 'node:crypto'
import { equalBytes, utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { encodeIndexValue, type IndexValue } from '../model/index-value.ts'
import { isTombstone, type RecordBytes } from '../model/record.ts'
import { type IndexDefinition, INDEX_NAME_BYTES_MAX } from '../storage/stored-index.ts'

/**
 * What a record is found by: one value, or several, each of which finds it; `undefined` or `null` for a record that is not to be
 * found. Must be pure: the same value of a record makes the same values of the index, at any time, on every node.
 */
export type IndexFunction<V> = (value: V) => IndexValue | readonly (IndexValue | null | undefined)[] | null | undefined

/** An index whose definition has a version. */
export interface VersionedIndex<V> {
  readonly of: IndexFunction<V>
  /**
   * What tells one definition from another, in the place of the text of the function: needed where the text is not the same on all
   * nodes, as with different builds, or where it does not tell all, as with variables from around it.
   */
  readonly version: string | number
}

/** The indexes of a keyspace, by their names. */
export type KeyspaceIndexes<V, I extends string = string> = Readonly<Record<I, IndexFunction<V> | VersionedIndex<V>>>

/** Most indexes of a keyspace, and most values of one record in one index. */
export const INDEXES_MAX = 32
export const VALUES_MAX = 256
const FINGERPRINT_BYTES = 16
const DEFINITION_FIELDS: readonly string[] = ['of', 'version']

/**
 * The definitions of a keyspace's indexes.
 *
 * @param decode - the value of a record; a promise only where it has to be waited for
 * @throws KilovoltError `KV_CONFIG`
 */
export function indexDefinitions<V>(
  keyspace: Uint8Array,
  indexes: unknown,
  decode: (record: RecordBytes) => V | Promise<V>
): readonly IndexDefinition[] {
  if (indexes === undefined) return []
  if (typeof indexes !== 'object' || indexes === null || Array.isArray(indexes)) {
    throw new KilovoltError('KV_CONFIG', '"indexes" must be an object of functions by the names of the indexes')
  }
  const entries = Object.entries(indexes as Record<string, unknown>)
  if (entries.length > INDEXES_MAX) {
    throw new KilovoltError('KV_CONFIG', `a keyspace has at most ${INDEXES_MAX} indexes, not ${entries.length}`)
  }
  const valueOf = entries.length > 1 ? remembering(decode) : decode
  return entries.map(([name, definition]) => {
    const { of, version } = parts<V>(name, definition)
    const valuesOf = (record: RecordBytes): readonly Uint8Array[] | Promise<readonly Uint8Array[]> => {
      if (isTombstone(record)) return []
      const value = valueOf(record)
      return value instanceof Promise ? value.then(later => encoded(of(later))) : encoded(of(value))
    }
    return { keyspace, name, fingerprint: fingerprint(of, version), valuesOf }
  })
}

/** All indexes of a keyspace are asked about the same change, one after the other: what it was and what it is are decoded once. */
function remembering<T>(decode: (record: RecordBytes) => T): (record: RecordBytes) => T {
  let last: { readonly record: RecordBytes; readonly value: T } | undefined
  let other: typeof last
  return record => {
    if (last?.record === record) return last.value
    if (other?.record === record) return other.value
    other = last
    last = { record, value: decode(record) }
    return last.value
  }
}

function parts<V>(
  name: string,
  definition: unknown
): Omit<VersionedIndex<V>, 'version'> & { version?: string | number } {
  const bytes = utf8(name).length
  if (bytes === 0 || bytes > INDEX_NAME_BYTES_MAX || !name.isWellFormed()) {
    throw new KilovoltError(
      'KV_CONFIG',
      `the name of an index is text of 1 to ${INDEX_NAME_BYTES_MAX} bytes, not of ${bytes}`
    )
  }
  if (typeof definition === 'function') {
    if (NO_TEXT.test(textOf(definition))) throw textless(name)
    return { of: definition as IndexFunction<V> }
  }
  const { of, version, ...more } = (definition ?? {}) as Partial<VersionedIndex<V>>
  if (typeof of !== 'function' || Object.keys(more).length > 0) {
    throw new KilovoltError(
      'KV_CONFIG',
      `the index "${name}" must be a function of a value, or an object of ${DEFINITION_FIELDS.join(' and ')}`
    )
  }
  if (typeof version !== 'string' && !Number.isFinite(version)) {
    throw new KilovoltError('KV_CONFIG', `the "version" of the index "${name}" must be text or a number`)
  }
  return { of, version: version as string | number }
}

/** The end of what all functions have for a text that are bound, or built in. */
const NO_TEXT = /\{\s*\[native code\]\s*\}\s*$/u

/** Its own, whatever an object says of itself. */
function textOf(of: CallableFunction): string {
  return Function.prototype.toString.call(of)
}

/** When it becomes another one nobody would know. */
function textless(name: string): KilovoltError {
  return new KilovoltError(
    'KV_CONFIG',
    `the function of the index "${name}" is bound or built in, and has no text to be told from others by: give it a "version"`
  )
}

function fingerprint(of: CallableFunction, version: string | number | undefined): Uint8Array {
  const text = version === undefined ? `of ${textOf(of)}` : `version ${typeof version} ${version}`
  return new Uint8Array(createHash('sha256').update(text).digest().subarray(0, FINGERPRINT_BYTES))
}

/** The values that were made of a record, each once. */
function encoded(made: unknown): readonly Uint8Array[] {
  if (made === undefined || made === null) return []
  for (const one of Array.isArray(made) ? (made as readonly unknown[]) : [made]) {
    // An async function's promise is refused below, as objects are, and that is told. Its rejection would end the process.
    if (one instanceof Promise) one.catch(() => {})
  }
  if (!Array.isArray(made)) return [encodeIndexValue(made)]
  if (made.length > VALUES_MAX) {
    throw new RangeError(`a record has at most ${VALUES_MAX} values in an index, not ${made.length}`)
  }
  const values: Uint8Array[] = []
  for (const one of made as readonly unknown[]) {
    if (one === undefined || one === null) continue
    const value = encodeIndexValue(one)
    if (!values.some(other => equalBytes(other, value))) values.push(value)
  }
  return values
}
