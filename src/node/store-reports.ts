import type { Emitter } from '../base/emitter.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { GuardListener } from '../storage/guarded-store.ts'
import { decodeDataKey } from '../storage/key-layout.ts'
import type { CoreEvents } from './node-core.ts'
import { ToldTogether } from './told-together.ts'

/** What reporting needs. */
export interface StoreReportsDeps {
  readonly clock: Pick<Clock, 'after'>
  readonly logger: Logger
  readonly events: Emitter<CoreEvents>
}

/** Tells everybody who should know what befalls a node's store: by the log, and by events. */
export class StoreReports implements GuardListener {
  readonly #deps: StoreReportsDeps
  readonly logger: Logger
  readonly events: Emitter<CoreEvents>
  readonly #aside: ToldTogether<undefined>
  readonly #corrupt: ToldTogether<Uint8Array>

  constructor(deps: StoreReportsDeps) {
    const { clock, logger, events } = deps
    this.#deps = deps
    this.logger = logger
    this.events = events
    this.#aside = new ToldTogether(clock, count => {
      logger.warn('data:set-aside: records came too late to be taken back', { count })
      events.emit('set-aside', count)
    })
    this.#corrupt = new ToldTogether(clock, (count, first) => {
      // Of the first one its place is told, but not its key, which may be a secret.
      const { partition, key } = decodeDataKey(first)
      logger.error('data:corrupt: stored records are damaged', { count, partition, keyBytes: key.length })
      events.emit('corrupt', count)
    })
  }

  readonly onReadOnly = (error: KilovoltError): void => {
    this.#deps.logger.error('storage:read-only: the store refuses writes', { error: error.message })
    this.#deps.events.emit('storage', error)
  }

  readonly onWritable = (): void => {
    this.#deps.logger.warn('storage:writable: the store takes writes again')
    this.#deps.events.emit('storage', undefined)
  }

  /** Records were set aside. */
  readonly onSetAside = (count: number): void => this.#aside.add(count, undefined)

  /** A damaged record was found, under this key as that of a record. */
  readonly onDamage = (key: Uint8Array): void => this.#corrupt.add(1, key)

  /** Tells nothing more. */
  cancel(): void {
    this.#aside.cancel()
    this.#corrupt.cancel()
  }
}
