import type { Ring } from '../model/partition.ts'
import type { RecordStore } from '../storage/record-store.ts'
import type { CallOptions } from './call.ts'
import type { Repair } from './get-operation.ts'
import type { Minter } from './minter.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { CoordinatorStats, OperationDeps, OperationOptions } from './operation.ts'
import type { ScanDeps } from './scanner.ts'
import type { InTime } from './stamp-wait.ts'
import type { TurnBundles } from './turn-bundles.ts'
import type { WriteRoom } from './write-room.ts'

/** What a coordinator needs. */
export interface CoordinatorDeps
  extends Omit<OperationDeps, 'wheel' | 'routes' | 'snitch'>, Pick<ScanDeps, 'scans' | 'slicer'> {
  readonly ring: Ring
  /** This node's part in writes of keyspaces with siblings. */
  readonly minter: Minter
  /** The local copies. */
  readonly records: Pick<RecordStore, 'get' | 'getMany' | 'readsAtOnce'>
}

/** What the parts of a coordinator share. */
export interface Coordination {
  readonly deps: CoordinatorDeps & OperationDeps
  readonly turn: TurnBundles
  /** Where large writes wait for their turn. */
  readonly room: WriteRoom
  readonly stats: { -readonly [K in keyof CoordinatorStats]: number }
  readonly repair: Repair
  readonly options: (call: CallOptions) => OperationOptions
  /** Waits for what has to be stamped, no longer than the call may take. */
  readonly inTime: <T, Options extends CallOptions>(
    stamped: Promise<T>,
    options: Options,
    isRepeat?: boolean
  ) => InTime<T, Options>
  /** Runs an operation so that a stop ends it. */
  readonly track: <Result>(operation: { run(): Promise<Result>; cancel(error: KilovoltError): void }) => Promise<Result>
  /** Told of each operation that fails; returns what it is to fail with. */
  readonly failed: (error: unknown) => unknown
}
