import type { ByteRange } from '../model/key-range.ts'
import type { CallOptions } from '../replication/call.ts'
import type { IndexQuery } from '../replication/index-query.ts'
import type { IndexDefinition } from '../storage/stored-index.ts'

/** What a keyspace needs of the node for its indexes. */
export interface IndexDoor {
  /** The app defines the indexes of a keyspace, or opens it without any: what an earlier life has left of others is forgotten later. */
  define(keyspace: Uint8Array, definitions: readonly IndexDefinition[]): void
  /** The index of that name; `undefined` when the keyspace was opened with none such. */
  find(keyspace: Uint8Array, name: string): IndexDefinition | undefined
  /** Nothing is asked before the first page. `signal` and `timeoutMs` are those of each page. */
  query(
    definition: IndexDefinition,
    range: ByteRange,
    options: CallOptions,
    isReverse: boolean
  ): Pick<IndexQuery, 'next' | 'breathe' | 'close'>
}
