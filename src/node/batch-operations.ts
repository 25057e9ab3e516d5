import { assertObjects } from '../base/arguments.ts'
import { KilovoltError } from '../base/errors.ts'
import { show, unknownOption } from '../base/options.ts'
import { contextless, lifetime } from './call-options.ts'
import type { BatchOperation } from './keyspace.ts'

const FIELDS: ReadonlySet<string> = new Set(['type', 'key', 'value', 'ttl', 'context'])

/**
 * Refuses what is no batch. What is wrong with one key or value is left to those who encode it.
 *
 * @throws TypeError that names the operation by its place; KilovoltError `KV_CONFIG` for fields that it cannot have: those
 *   are of the call as a whole, and nothing is done
 */
export function assertBatch(operations: readonly BatchOperation<unknown, unknown>[], hasSiblings: boolean): void {
  assertObjects('operations', operations)
  for (let index = 0; index < operations.length; index++) {
    const operation = operations[index]!
    for (const field in operation) {
      if (FIELDS.has(field)) continue
      throw new KilovoltError('KV_CONFIG', `operations[${index}]: ${unknownOption(field, 'a batch operation', FIELDS)}`)
    }
    const { type, context } = operation
    if (context !== undefined && !hasSiblings) throw contextless()
    if (type !== 'put' && type !== 'del') {
      throw new TypeError(`operations[${index}]: a batch operation is 'put' or 'del', not ${show(type)}`)
    }
    const ttl = 'ttl' in operation ? operation.ttl : undefined
    if (ttl === undefined) continue
    if (type === 'del') throw new KilovoltError('KV_CONFIG', 'a batch operation that deletes has no "ttl"')
    lifetime(ttl)
  }
}
