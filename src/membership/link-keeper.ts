import type { PeerId, StoreId } from '../model/node-id.ts'
import type { ViewMember } from '../model/view.ts'
import type { Transport } from '../transport/transport.ts'
import type { ViewChange } from './gossip.ts'

/** How long a link to a member that has left stays, so that its goodbye is answered, ms. */
const GOODBYE_MS = 2000

interface Kept {
  readonly peer: PeerId
  readonly addresses: string
}

/**
 * Has the transport keep a link to every member that is alive, suspected, or dead but not forgotten: after a split both
 * sides hold each other dead, and the first link between them is what heals the views.
 */
export class LinkKeeper {
  readonly #transport: Pick<Transport, 'self' | 'keep' | 'drop'>
  readonly #kept = new Map<StoreId, Kept>()
  readonly #parting = new Map<PeerId, number>()

  constructor(transport: Pick<Transport, 'self' | 'keep' | 'drop'>) {
    this.#transport = transport
  }

  /** Follows a change of the view. */
  update(nowMs: number, { before, after }: ViewChange): void {
    if (after !== undefined && after.status !== 'left') this.#keep(after)
    else {
      const { storeId, peerId } = (after ?? before)!
      this.#kept.delete(storeId)
      this.#parting.set(peerId, nowMs + (after === undefined ? 0 : GOODBYE_MS))
    }
  }

  /** Closes the links whose time has come. */
  tick(nowMs: number): void {
    for (const [peer, dueMs] of this.#parting) {
      if (nowMs < dueMs) continue
      this.#parting.delete(peer)
      if (peer !== this.#transport.self && ![...this.#kept.values()].some(kept => kept.peer === peer)) {
        this.#transport.drop(peer)
      }
    }
  }

  #keep({ storeId, peerId, addresses }: ViewMember): void {
    if (peerId === this.#transport.self) return
    const text = addresses.join('\n')
    const kept = this.#kept.get(storeId)
    this.#parting.delete(peerId)
    if (kept?.peer === peerId && kept.addresses === text) return
    this.#kept.set(storeId, { peer: peerId, addresses: text })
    this.#transport.keep(peerId, addresses)
    // Its store is reached elsewhere now.
    if (kept !== undefined && kept.peer !== peerId) this.#parting.set(kept.peer, 0)
  }
}
