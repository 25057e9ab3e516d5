import { fromHex, toHex } from '../base/bytes.ts'

/**
 * Identity of a store, and hence of a member and voter: 128 random bits written when the store is created, as 32
 * lower-case hex digits. A memory node gets a new one at each start, so it is never taken for what it was.
 */
export type StoreId = string & { readonly __brand: 'StoreId' }

/** Where to dial: the libp2p peer id in its text form. Only a route, never an identity of data. */
export type PeerId = string & { readonly __brand: 'PeerId' }

/** Who stamped a record: the first 64 bits of a store id, as 16 lower-case hex digits. */
export type Actor = string & { readonly __brand: 'Actor' }

/** Identity of a cluster: 128 random bits drawn at its founding, as 32 lower-case hex digits. */
export type ClusterId = string & { readonly __brand: 'ClusterId' }

/** Length of a store id and of a cluster id, in bytes. */
export const ID_BYTES = 16
/** Length of an actor, in bytes. */
export const ACTOR_BYTES = 8

/** The store id (or cluster id) made of 16 bytes. */
export function idFromBytes<T extends StoreId | ClusterId>(bytes: Uint8Array): T {
  return toHex(bytes) as T
}

/** The 16 bytes of a store id or cluster id. */
export function idToBytes(id: StoreId | ClusterId): Uint8Array {
  return fromHex(id)!
}

/** The actor under which a store stamps. */
export function actorOf(store: StoreId): Actor {
  return store.slice(0, ACTOR_BYTES * 2) as Actor
}

/** Total order of ids of one kind: the order of their bytes, which is the order of their hex digits. */
export function compareIds<T extends StoreId | PeerId | Actor | ClusterId>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** First eight digits, for people. */
export function shortId(id: StoreId | ClusterId): string {
  return id.slice(0, 8)
}
