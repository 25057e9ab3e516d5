import type { Mover } from '../cluster/cluster.ts'
import type { Importer } from '../repair/importer.ts'
import type { Mending } from '../repair/mending.ts'
import type { Transfer } from '../repair/transfer.ts'
import { ANY_OWNER, type HintStore } from '../storage/hint-store.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore } from '../storage/record-store.ts'

/** What moves data. Functions give what is made later than the cluster floor. */
export interface MoverDeps {
  readonly records: RecordStore
  readonly horizons: Horizons
  readonly hints: HintStore
  readonly transfer: Transfer
  readonly mending: () => Mending
  readonly importer: () => Importer
}

/** What moves data for the cluster floor, which decides where it belongs and never touches it. */
export function createMover({ records, horizons, hints, transfer, mending, importer }: MoverDeps): Mover {
  return {
    copy: (task, signal) => transfer.copy(task, signal),
    held: () => records.partitions(),
    giveBack: partition => mending().giveBack(partition),
    bringAlong: partition => importer().run(partition),
    compareAll: async () => (await mending().run(false, undefined)).missed,
    forgetPast: () => horizons.reset(),
    sole: () => hints.countOf(ANY_OWNER),
    drop: (partition, signal) => transfer.drop(partition, signal)
  }
}
