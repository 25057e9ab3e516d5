import type { Emitter } from '../base/emitter.ts'
import type { Ring } from '../model/partition.ts'
import { WatchHub, type WatchHubDeps } from '../replication/watch-hub.ts'
import { WatchSource, type WatchSourceDeps } from '../replication/watch-source.ts'
import type { Random } from '../runtime/random.ts'
import type { ArrivalLog } from '../storage/arrival-log.ts'
import type { CoreEvents } from './node-core.ts'
import type { WatchDoor } from './node-watch.ts'

/** What both sides of watching need beyond what is made here. */
export interface WatchingDeps extends Omit<WatchSourceDeps & WatchHubDeps, 'arrivals' | 'source'> {
  readonly ring: Ring
  readonly random: Random
  readonly events: Emitter<CoreEvents>
}

/** A node's part in watching: what arrives at its own store, and what is watched from here. Idle until somebody watches. */
export class Watching {
  readonly #arrivals: ArrivalLog
  #door: WatchDoor | undefined
  #source: WatchSource | undefined
  #hub: WatchHub | undefined

  constructor(arrivals: ArrivalLog) {
    this.#arrivals = arrivals
  }

  /** Answers others from now on. */
  listen(deps: WatchingDeps): void {
    const source = (this.#source = new WatchSource({ ...deps, arrivals: this.#arrivals }))
    const hub = (this.#hub = new WatchHub({ ...deps, source }))
    const { ring, events } = deps
    this.#door = { hub, ring, onStopped: listener => events.on('stopped', listener) }
    source.listen()
  }

  /** Owners may have changed. */
  topologyChanged(): void {
    this.#source?.topologyChanged()
    this.#hub?.topologyChanged()
  }

  get door(): WatchDoor {
    return this.#door!
  }

  stop(): void {
    this.#hub?.stop()
    this.#source?.stop()
  }
}
