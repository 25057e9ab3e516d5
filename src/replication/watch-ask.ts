import { createDeferred } from '../base/deferred.ts'
import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Topology } from '../placement/topology.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import type { WatchSource } from './watch-source.ts'
import {
  decodeRewindReply,
  decodeWatchReply,
  encodeRewind,
  encodeWatch,
  type RewindReply,
  type RewindRequest,
  type WatchReply,
  type WatchRequest
} from './watch-wire.ts'

/** What asking owners needs. */
export interface WatchAskDeps {
  readonly self: StoreId
  readonly transport: Transport
  /** This node's own side. */
  readonly source: Pick<WatchSource, 'watch' | 'rewind'>
  readonly topology: () => Topology | undefined
}

/** How long an answer may take beyond what it was asked to wait, ms. */
const MARGIN_MS = 5000

/** Asks owners for what has arrived there: others by the network, this node itself directly. */
export class WatchAsk {
  readonly #deps: WatchAskDeps

  constructor(deps: WatchAskDeps) {
    this.#deps = deps
  }

  /** @throws KilovoltError why there is no answer */
  watch(store: StoreId, request: WatchRequest): Promise<WatchReply> {
    const { self, source } = this.#deps
    if (store !== self) {
      const { waitMs } = request
      return this.#ask(store, MessageType.WATCH, encodeWatch(request), waitMs + MARGIN_MS).then(decodeWatchReply)
    }
    return new Promise(resolve => source.watch('self', request, resolve))
  }

  /** @throws KilovoltError why there is no answer */
  async rewind(store: StoreId, request: RewindRequest): Promise<RewindReply> {
    const { self, source } = this.#deps
    if (store === self) return source.rewind(request)
    const body = await this.#ask(store, MessageType.REWIND, encodeRewind(request), MARGIN_MS)
    return decodeRewindReply(body, request.partition)
  }

  #ask(store: StoreId, type: MessageType, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const { promise, resolve, reject } = createDeferred<Uint8Array>()
    const peer = this.#deps.topology()?.members.get(store)?.peerId
    if (peer === undefined) reject(new KilovoltError('KV_UNREACHABLE', `${store} is no member`))
    else
      this.#deps.transport.request(peer, { type, class: 'data', body, timeoutMs }, outcome => {
        if (outcome.kind === 'reply') resolve(outcome.body)
        else if (outcome.kind === 'refused') reject(outcome.error)
        else
          reject(new KilovoltError('KV_UNREACHABLE', `${store} did not answer (${outcome.kind})`, { retryable: true }))
      })
    return promise
  }
}
