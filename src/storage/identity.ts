import { crc32 } from 'node:zlib'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { actorOf, ID_BYTES, idFromBytes, type Actor, type StoreId } from '../model/node-id.ts'
import type { Random } from '../runtime/random.ts'
import { identityKey } from './key-layout.ts'
import type { Store, StoreChange } from './store.ts'

/** Version of the disk format that this version of kilovolt writes; it reads this one only. */
export const STORE_FORMAT = 1
/** Longest private key that a store keeps, in bytes. */
export const PEER_KEY_BYTES_MAX = 1024

/** Fields below the identity's prefix. Their numbers are part of the disk format. */
const Field = { FORMAT: 0, STORE_ID: 1, PEER_KEY: 2, STATE: 3, CEILING: 4 } as const
const FIELDS: readonly number[] = [Field.FORMAT, Field.STORE_ID, Field.PEER_KEY, Field.STATE, Field.CEILING]

const UNCLEAN = 0
const CLEAN = 1
const CHECKSUM_BYTES = 4

/** Who a store is, as found or written when it was opened. */
export interface Identity {
  readonly storeId: StoreId
  /** Under which its node stamps. */
  readonly actor: Actor
  /** The node's private key, as `createPeerKey` made it when the store was created. */
  readonly peerKey: Uint8Array
  /** Whether the store was created by this opening. */
  readonly created: boolean
  /**
   * Whether the store was closed in good order before: false after a crash or a kill, when what is only derived from
   * the records has to be built anew. True for a new store.
   */
  readonly openedClean: boolean
  /** No stamp above this hybrid time was ever issued. */
  readonly ceiling: number
}

/** What opening an identity needs. */
export interface IdentityDeps {
  readonly random: Random
  /** Makes the node's private key; called only when the store is new. The bytes are kept as they are. */
  readonly createPeerKey: () => Promise<Uint8Array>
  /** Rejects a store that was used before and does not suit its node; called before anything is written to it. */
  readonly accept?: (store: Store) => Promise<void>
}

/**
 * Reads who the store is, or makes a new identity when it is empty, and marks it as open. A store in memory always gets
 * a new one, and loses whatever it holds of an earlier life: a node that may have forgotten something must never speak
 * for its former self.
 *
 * @throws KilovoltError `KV_STORAGE_FORMAT` when a later version wrote it, or something that is not kilovolt;
 *   `KV_CORRUPT` when its identity cannot be read, since starting afresh would pass off a loss as an empty store;
 *   `KV_STORAGE` when the database fails; whatever `accept` rejects with
 */
export async function openIdentity(store: Store, deps: IdentityDeps): Promise<Identity> {
  const fields = await store.getMany(FIELDS.map(identityKey))
  const known = fields.some(value => value !== undefined)
  if (!known) await assertEmpty(store)
  if (known && !store.permanent) await store.clear({ gte: new Uint8Array(0), lt: undefined })
  return known && store.permanent ? reopen(store, fields, deps) : create(store, deps)
}

/**
 * Marks the store as closed in good order; the last write before it is closed.
 *
 * @param ceiling - the greatest hybrid time issued, so that the next start need not begin seconds ahead
 */
export async function closeIdentity(store: Store, ceiling: number): Promise<void> {
  if (!store.permanent) return
  await store.batch([stateChange(CLEAN), ceilingChange(ceiling)], { sync: true })
}

/** The change that raises (or, at a clean close, lowers) the greatest hybrid time that may be issued. */
export function ceilingChange(hlc: number): StoreChange {
  return change(Field.CEILING, new Writer(CHECKSUM_BYTES + 8).varint(hlc).finish())
}

async function create(store: Store, { random, createPeerKey }: IdentityDeps): Promise<Identity> {
  const id = random.bytes(ID_BYTES)
  const peerKey = await createPeerKey()
  if (peerKey.length === 0 || peerKey.length > PEER_KEY_BYTES_MAX) {
    throw new KilovoltError('KV_INTERNAL', `a private key of ${peerKey.length} bytes cannot be kept`)
  }
  // One batch: there is no instant at which a store has data and no identity.
  const changes = [
    change(Field.FORMAT, new Writer(8).u16(STORE_FORMAT).finish()),
    change(Field.STORE_ID, id),
    change(Field.PEER_KEY, peerKey),
    stateChange(UNCLEAN),
    ceilingChange(0)
  ]
  await store.batch(changes, { sync: true })
  const storeId: StoreId = idFromBytes(id)
  return { storeId, actor: actorOf(storeId), peerKey, created: true, openedClean: true, ceiling: 0 }
}

async function reopen(
  store: Store,
  fields: readonly (Uint8Array | undefined)[],
  { accept }: IdentityDeps
): Promise<Identity> {
  const format = read(fields, Field.FORMAT, 'format version', reader => reader.u16())
  if (format !== STORE_FORMAT) throw formatError(format)
  const storeId: StoreId = idFromBytes(read(fields, Field.STORE_ID, 'store id', reader => reader.raw(ID_BYTES)))
  const peerKey = read(fields, Field.PEER_KEY, 'private key', reader => reader.rest())
  const state = read(fields, Field.STATE, 'state', reader => reader.u8())
  const ceiling = read(fields, Field.CEILING, 'clock', reader => reader.varint())
  if (peerKey.length === 0) throw corrupt('private key')
  await accept?.(store)
  // Synced, or a crash of the machine could leave "clean" in place while it takes later writes away.
  await store.batch([stateChange(UNCLEAN)], { sync: true })
  return { storeId, actor: actorOf(storeId), peerKey, created: false, openedClean: state === CLEAN, ceiling }
}

async function assertEmpty(store: Store): Promise<void> {
  const [entry] = await store.page({ gte: new Uint8Array(0), lt: undefined }, 1)
  if (entry === undefined) return
  throw new KilovoltError(
    'KV_STORAGE_FORMAT',
    'the database holds data but no identity of a kilovolt store: something else wrote it, or a part of it is lost; ' +
      'give the node an empty database, or restore this one from a copy'
  )
}

function formatError(format: number): KilovoltError {
  const advice =
    format > STORE_FORMAT
      ? 'a later version of kilovolt wrote it: upgrade kilovolt on this machine, or give the node an empty directory ' +
        'and let it fetch its data from the other members'
      : 'no version of kilovolt that was released wrote it'
  return new KilovoltError(
    'KV_STORAGE_FORMAT',
    `the store has format ${format}, and this version reads format ${STORE_FORMAT}: ${advice}`,
    { details: { format, supported: STORE_FORMAT } }
  )
}

function corrupt(what: string, cause?: unknown): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the ${what} in the store's identity cannot be read: restore the store from a copy, or remove it and start the ` +
      'node with an empty one; it then joins as a new member',
    { cause }
  )
}

function read<T>(
  fields: readonly (Uint8Array | undefined)[],
  field: number,
  what: string,
  parse: (reader: Reader) => T
): T {
  const sealed = fields[FIELDS.indexOf(field)]
  const length = (sealed?.length ?? 0) - CHECKSUM_BYTES
  if (sealed === undefined || length < 0) throw corrupt(what)
  const payload = sealed.subarray(0, length)
  if (new Reader(sealed, length).u32() !== crc32(payload)) throw corrupt(what)
  const reader = new Reader(payload)
  try {
    const value = parse(reader)
    if (reader.remaining === 0) return value
  } catch (error) {
    throw corrupt(what, error)
  }
  throw corrupt(what)
}

function stateChange(state: number): StoreChange {
  return change(Field.STATE, Uint8Array.of(state))
}

/** Each field ends with the CRC-32 of what stands before. */
function change(field: number, payload: Uint8Array): StoreChange {
  const value = new Writer(payload.length + CHECKSUM_BYTES).raw(payload).u32(crc32(payload)).finish()
  return { key: identityKey(field), value }
}
