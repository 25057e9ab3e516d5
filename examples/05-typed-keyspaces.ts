// Keyspaces: data of one kind, with its type, its encoding and its consistency level. Names do not mix.
import { createNode } from 'kilovolt'

interface Session {
  readonly user: string
  readonly roles: readonly string[]
}

const node = await createNode()

const sessions = node.keyspace<Session>('sessions', { consistency: 'one' })
await sessions.put('s1', { user: 'ada', roles: ['admin'] })
const session = await sessions.get('s1')
console.log('roles   ', session?.roles)

const pictures = node.keyspace<Uint8Array>('pictures', { valueEncoding: 'view' })
await pictures.put('dot', new Uint8Array([137, 80, 78, 71]))
console.log('picture ', await pictures.get('dot'))

const dates = node.keyspace<Date>('dates', {
  valueEncoding: {
    name: 'date',
    encode: date => new TextEncoder().encode(date.toISOString()),
    decode: bytes => new Date(new TextDecoder().decode(bytes))
  }
})
await dates.put('launch', new Date(Date.UTC(2026, 0, 1)))
console.log('year    ', (await dates.get('launch'))?.getUTCFullYear())
console.log('no mixing', await sessions.has('launch'))

await node.stop()
