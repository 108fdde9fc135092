# The native transport. Linux alone has epoll, so elsewhere there is nothing to build.
{
  'targets': [
    {
      'target_name': 'holdfast',
      'conditions': [
        ['OS!="linux"', {
          'type': 'none',
        }, {
          'sources': [
            'acceptor.cc',
            'address.cc',
            'binding.cc',
            'connections.cc',
            'connector.cc',
            'loop.cc',
            'loop_handle.cc',
            'output_queue.cc',
            'socket_table.cc',
            'tcp_facts.cc',
            'writer.cc',
          ],
          # Node 20.3 is the first with version 9: 8 is older than all that we run on.
          'defines': ['NAPI_VERSION=8'],
          'cflags!': ['-O3'],
          'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
          'cflags': ['-O2', '-fvisibility=hidden'],
          # What is missing shows when the addon is loaded, not when it is first called.
          'ldflags': ['-Wl,-z,now'],
          'cflags_cc': [
            '-std=c++17',
            '-fno-exceptions',
            '-fno-rtti',
            '-fvisibility-inlines-hidden',
            '-Wall',
            '-Wextra',
            '-Werror=return-type',
          ],
        }],
      ],
    },
  ],
}
