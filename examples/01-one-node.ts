// One node: a cluster of one, in memory, on loopback. Everything works; nothing survives the process.
import { createNode } from 'kilovolt'

const node = await createNode()

await node.put('user:1', { name: 'Ada' })
console.log('get    ', await node.get('user:1'))
console.log('has    ', await node.has('user:2'))
console.log('missing', await node.get('user:2'))
console.log('delete ', await node.delete('user:1'))

await node.batch([
  { type: 'put', key: 'a', value: 1 },
  { type: 'put', key: 'b', value: 2 }
])
console.log('getMany', await node.getMany(['a', 'b', 'c']))

await node.stop()
