import { isObject } from '../base/arguments.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { show } from '../base/options.ts'

/**
 * A validator as zod, valibot, arktype and others make them: the part of Standard Schema (version 1,
 * standardschema.dev) that a keyspace uses.
 *
 * @typeParam In - what it takes
 * @typeParam Out - what it makes of that
 */
export interface StandardSchema<In = unknown, Out = In> {
  readonly '~standard': {
    readonly version: 1
    /** The library that made it. */
    readonly vendor: string
    /** The value to be stored, or what is wrong with this one. */
    readonly validate: (value: unknown) => SchemaResult<Out> | Promise<SchemaResult<Out>>
    /** For types only; never there when the program runs. */
    readonly types?: { readonly input: In; readonly output: Out } | undefined
  }
}

/** What a validation comes to: a value, or issues. */
export type SchemaResult<Out> =
  { readonly value: Out; readonly issues?: undefined } | { readonly issues: readonly SchemaResultIssue[] }

/** One issue, as validators report it. */
export interface SchemaResultIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema takes: the values that can be put. */
export type SchemaInput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['input']
/** What a schema makes of it: the values that are stored, and read. */
export type SchemaOutput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output']

/** What is wrong with a value, as `details.issues` of `KV_INVALID_VALUE` has it. */
export interface SchemaIssue {
  readonly message: string
  /** Where in the value; empty: the value as a whole. */
  readonly path: readonly PropertyKey[]
}

/**
 * Refuses what is no such validator.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertSchema(schema: StandardSchema): void {
  // Some are functions.
  const isObject = (typeof schema === 'object' && schema !== null) || typeof schema === 'function'
  const standard: unknown = isObject ? schema['~standard'] : undefined
  if (typeof standard !== 'object' || standard === null || !('validate' in standard) || !('version' in standard)) {
    throw new KilovoltError('KV_CONFIG', '"schema" must be a Standard Schema, as zod, valibot and others make them')
  }
  if (standard.version !== 1 || typeof standard.validate !== 'function') {
    throw new KilovoltError(
      'KV_CONFIG',
      `"schema" must be of version 1 of Standard Schema, not ${show(standard.version)}`
    )
  }
}

/**
 * What the schema makes of a value.
 *
 * @throws KilovoltError `KV_INVALID_VALUE`, with what is wrong in `details.issues`; `KV_CONFIG` when the schema does not
 *   answer at once: nothing bounds how long it would take, and writes would no longer be made in the order of their calls
 */
export function validated<Out>(schema: StandardSchema<unknown, Out>, value: unknown, keyspace: string): Out {
  let result: SchemaResult<Out> | Promise<SchemaResult<Out>>
  try {
    result = schema['~standard'].validate(value)
  } catch (cause) {
    const message = `the schema of the keyspace "${keyspace}" threw: ${messageOf(cause)}`
    throw new KilovoltError('KV_INVALID_VALUE', message, { cause, details: { issues: [] } })
  }
  if (!isObject(result)) {
    throw new KilovoltError('KV_CONFIG', `the schema of the keyspace "${keyspace}" answers neither a value nor issues`)
  }
  if ('then' in result) {
    // Whatever becomes of it: nobody waits.
    result.then(undefined, () => {})
    throw new KilovoltError(
      'KV_CONFIG',
      `the schema of the keyspace "${keyspace}" validates asynchronously; take one that answers at once, and do the rest before the put`
    )
  }
  if (result.issues !== undefined) throw invalid(keyspace, result.issues)
  return result.value
}

function invalid(keyspace: string, found: readonly SchemaResultIssue[]): KilovoltError {
  const issues: SchemaIssue[] = found.map(({ message, path = [] }) => ({
    message,
    path: path.map(step => (typeof step === 'object' ? step.key : step))
  }))
  const [first] = issues
  const where = first === undefined || first.path.length === 0 ? '' : ` at ${first.path.map(String).join('.')}`
  const more = issues.length > 1 ? `, and ${issues.length - 1} more` : ''
  return new KilovoltError(
    'KV_INVALID_VALUE',
    `not a value of the keyspace "${keyspace}"${where}: ${first?.message ?? 'its schema gives no reason'}${more}`,
    { details: { issues } }
  )
}
