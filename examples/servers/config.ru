# A Rack application for puma behind baton; see docs/servers.md. Run as
#
#	puma -t 16:16 -b tcp://127.0.0.1:8080 config.ru
#
# It takes the socket that it is given for the address of -b: mode inherit.

run lambda { |env|
  env["rack.input"].read
  [200, { "Content-Type" => "text/plain" },
   ["generation #{ENV['GENERATION']} pid #{Process.pid}\n"]]
}
