import type { Store } from '../../src/storage/store.ts'

/** Flips the lowest bit of the last byte that is stored under a key. */
export async function flipBit(store: Pick<Store, 'get' | 'batch'>, key: Uint8Array): Promise<void> {
  const value = new Uint8Array((await store.get(key))!)
  value[value.length - 1]! ^= 1
  await store.batch([{ key, value }], { sync: false })
}
