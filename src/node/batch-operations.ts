import { assertObjects } from '../base/arguments.ts'
import { KilovoltError } from '../base/errors.ts'
import { show } from '../base/options.ts'
import { contextless, lifetime } from './call-options.ts'
import type { BatchOperation } from './keyspace.ts'

/**
 * Refuses what is no batch. What is wrong with one key or value is left to those who encode it.
 *
 * @throws TypeError that names the operation by its place; KilovoltError `KV_CONFIG` for options that it cannot have: those
 *   are of the call as a whole, and nothing is done
 */
export function assertBatch(operations: readonly BatchOperation<unknown, unknown>[], hasSiblings: boolean): void {
  assertObjects('operations', operations)
  operations.forEach(({ type, ...more }, index) => {
    if (more.context !== undefined && !hasSiblings) throw contextless()
    if (type !== 'put' && type !== 'del') {
      throw new TypeError(`operations[${index}]: a batch operation is 'put' or 'del', not ${show(type)}`)
    }
    if (!('ttl' in more) || more.ttl === undefined) return
    if (type === 'del') throw new KilovoltError('KV_CONFIG', 'a batch operation that deletes has no "ttl"')
    lifetime(more.ttl)
  })
}
