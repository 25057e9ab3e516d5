// Options that may be left out may be given as `undefined` too: never run, checked by `npm run typecheck`.
import type {
  AbortOptions,
  BatchOperation,
  ClearOptions,
  CountOptions,
  KeyRange,
  KeyspaceOptions,
  KilovoltErrorOptions,
  Node,
  NodeOptions,
  OperationOptions,
  PutOptions,
  ReadOptions,
  RepairOptions,
  ScanOptions,
  SchemaKeyspaceOptions,
  StandardSchema,
  WaitOptions,
  WatchOptions,
  WriteOptions
} from 'kilovolt'
import type { KilovoltKeyvOptions } from 'kilovolt/keyv'
import type { KilovoltLevelOptions } from 'kilovolt/level'
import type { SessionStoreOptions } from 'kilovolt/session'
import type { TestClusterOptions } from 'kilovolt/testing'
import type { DriverOptions } from 'kilovolt/unstorage'

/** Members of O that may be left out, but not be `undefined`. */
type Strict<O> = {
  [K in keyof O]-?: Partial<Pick<O, K>> extends Pick<O, K>
    ? Record<K, undefined> extends Pick<O, K>
      ? never
      : K
    : never
}[keyof O]

/** Compiles only when every member of the options may be `undefined`. */
function lenient<O>(_none: [Strict<O>] extends [never] ? true : Strict<O>): void {}

export function options(): void {
  lenient<NodeOptions>(true)
  lenient<KeyspaceOptions<string, string>>(true)
  lenient<SchemaKeyspaceOptions<StandardSchema, string>>(true)
  lenient<AbortOptions & OperationOptions & ReadOptions & WriteOptions & PutOptions>(true)
  lenient<KeyRange & CountOptions & ClearOptions & ScanOptions>(true)
  lenient<WatchOptions>(true)
  lenient<WaitOptions & RepairOptions>(true)
  lenient<KilovoltErrorOptions>(true)
  lenient<Extract<BatchOperation<string>, { type: 'put' }>>(true)
  lenient<KilovoltKeyvOptions>(true)
  lenient<Pick<KilovoltLevelOptions<string, string>, 'consistency' | 'hashTags'>>(true)
  lenient<SessionStoreOptions<object>>(true)
  lenient<DriverOptions>(true)
  lenient<TestClusterOptions>(true)
  // @ts-expect-error the check can tell
  lenient<{ readonly strict?: string }>(true)
}

/** Whatever is at hand may be handed on. */
export async function handedOn(node: Node): Promise<void> {
  const scan = node.keys()
  await node.keys({ after: scan.token }).all()
  const ttl: number | undefined = undefined
  await node.put('a', 1, { ttl, signal: undefined, timeoutMs: undefined })
  node.watch({ since: node.watch().token })
}
