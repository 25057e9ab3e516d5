import type { PeerId, StoreId } from '../model/node-id.ts'
import type { Liveness, ViewMember } from '../model/view.ts'
import type { Transport } from '../transport/transport.ts'
import type { ViewChange } from './gossip.ts'

/** How long a link to a member that has left stays, so that its goodbye is answered, ms. */
const GOODBYE_MS = 2000

interface Kept {
  readonly peer: PeerId
  readonly addresses: string
  /** Where it listens, without who it is there. */
  readonly places: string
  readonly status: Liveness
}

/**
 * Has the transport keep a link to every member that is alive, suspected, or dead but not forgotten: after a split both
 * sides hold each other dead, and the first link between them is what heals the views. Not so to a dead one in whose place
 * another lives: that one would be bothered by everybody, in the name of the dead.
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

  #keep({ storeId, peerId, addresses, status }: ViewMember): void {
    if (peerId === this.#transport.self) return
    const text = addresses.join('\n')
    const places = placesOf(addresses)
    const kept = this.#kept.get(storeId)
    if (status === 'dead' && this.#others(storeId, places).some(other => other.status === 'alive')) {
      this.#kept.delete(storeId)
      this.#parting.set(peerId, 0)
      return
    }
    this.#kept.set(storeId, { peer: peerId, addresses: text, places, status })
    if (status === 'alive') this.#displace(storeId, places)
    this.#parting.delete(peerId)
    if (kept?.peer === peerId && kept.addresses === text) return
    this.#transport.keep(peerId, addresses)
    // Its store is reached elsewhere now.
    if (kept !== undefined && kept.peer !== peerId) this.#parting.set(kept.peer, 0)
  }

  /** Others that listen at the same places. */
  #others(store: StoreId, places: string): (Kept & { readonly store: StoreId })[] {
    if (places === '') return []
    return [...this.#kept]
      .filter(([other, kept]) => other !== store && kept.places === places)
      .map(([other, kept]) => ({ ...kept, store: other }))
  }

  #displace(store: StoreId, places: string): void {
    for (const other of this.#others(store, places)) {
      if (other.status !== 'dead') continue
      this.#kept.delete(other.store)
      this.#parting.set(other.peer, 0)
    }
  }
}

function placesOf(addresses: readonly string[]): string {
  return addresses
    .map(address => address.replace(/\/p2p\/.*$/u, ''))
    .toSorted()
    .join(' ')
}
