/**
 * An embeddable, clustered key-value store: the app's own processes become the database.
 *
 * @packageDocumentation
 */
export type { AbortOptions } from './base/abort.ts'
export { isKilovoltError, KilovoltError } from './base/errors.ts'
export type { ErrorCode, KilovoltErrorOptions } from './base/errors.ts'
export type { ClusterPhase } from './cluster/cluster.ts'
export type { IndexValue } from './model/index-value.ts'
export type { ConsistencyLevel } from './model/quorum.ts'
export type { Liveness } from './model/view.ts'
export type { Conflicts, Resolver } from './node/conflicts.ts'
export { createNode } from './node/create-node.ts'
export type {
  BytesEncoding,
  CustomEncoding,
  Encoding,
  EncodingName,
  TextEncoding,
  ValueEncoding
} from './node/encodings.ts'
export type {
  NodeEventHandler,
  NodeEventListener,
  NodeEvents,
  NodeEventTarget,
  NodeListenerOptions
} from './node/events.ts'
export type {
  BatchOperation,
  ClearOptions,
  CountOptions,
  DeleteOptions,
  Entry,
  IndexMatch,
  KeyRange,
  Keyspace,
  OperationOptions,
  PutOptions,
  QueryOptions,
  ReadOptions,
  Scan,
  ScanOptions,
  SinglePutOptions,
  WriteOptions
} from './node/keyspace.ts'
export type { KeyspaceOptions, SchemaKeyspaceOptions } from './node/keyspace-options.ts'
export type { IndexFunction, KeyspaceIndexes, VersionedIndex } from './node/index-definitions.ts'
export type { MemberInfo } from './node/members.ts'
export type { LeaveReport, Node, RepairOptions, RepairReport, SetAsideEntry, WaitOptions } from './node/node.ts'
export type { NodeOptions } from './node/options.ts'
export { PnCounter } from './node/pn-counter.ts'
export type { PnCounterOptions, PnCounts } from './node/pn-counter.ts'
export { resolvers } from './node/resolvers.ts'
export type { RingShare, RingView } from './node/ring-view.ts'
export type {
  SchemaInput,
  SchemaIssue,
  SchemaOutput,
  SchemaResult,
  SchemaResultIssue,
  StandardSchema
} from './node/schema.ts'
export type { StopAdvice } from './node/safe-to-stop.ts'
export type {
  Health,
  HintStatus,
  IndexStatus,
  NodePhase,
  NodeStatus,
  OperationStatus,
  PartitionStatus,
  PurgeStatus,
  RepairStatus,
  TransferStatus
} from './node/status.ts'
export type { DeleteEvent, ExpireEvent, PutEvent, ResetEvent, Watch, WatchEvent, WatchOptions } from './node/watch.ts'
export type { LogFields, Logger } from './runtime/logger.ts'
export type { LevelDatabase } from './storage/level-store.ts'
export type { RecordCacheStats, RecordStoreStats } from './storage/record-store.ts'
export type { TransportStats } from './transport/transport.ts'
