import { toHex } from '../../base/bytes.ts'
import type { StoreId } from '../../model/node-id.ts'
import { isTombstone, type RecordBytes, recordStamp } from '../../model/record.ts'
import type { Violation } from './violation.ts'

/** What the owners of one key hold. */
export interface ReplicaPicture {
  readonly key: string
  readonly owners: readonly StoreId[]
  /** The record at each store that holds one, owner or not. */
  readonly held: ReadonlyMap<StoreId, RecordBytes>
}

/**
 * Checks that all owners of each key hold the very same record, byte for byte. To be asked at rest, after every key was
 * read at `all`.
 */
export function checkReplicas(pictures: readonly ReplicaPicture[]): Violation[] {
  const violations: Violation[] = []
  for (const { key, owners, held } of pictures) {
    const forms = new Set(owners.map(owner => hexOf(held.get(owner))))
    if (forms.size <= 1) continue
    const states = owners.map(owner => `${owner.slice(0, 8)}: ${show(held.get(owner))}`)
    violations.push({ rule: 'replicas are equal at rest', message: `${key} differs: ${states.join(', ')}` })
  }
  return violations
}

function hexOf(record: RecordBytes | undefined): string | undefined {
  return record === undefined ? undefined : toHex(record)
}

function show(record: RecordBytes | undefined): string {
  if (record === undefined) return 'nothing'
  const { hlc, actor } = recordStamp(record)
  return `${isTombstone(record) ? 'tombstone' : 'value'} ${hlc}-${actor}`
}
