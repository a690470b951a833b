# A minimal web server that answers one request at a time: every page is site/index.html.
use strict;
use warnings;
use IO::Socket::INET;

$| = 1;
my ($port) = @ARGV;
my $door = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 16, ReuseAddr => 1)
    or die "web: unable to listen on 127.0.0.1:$port: $!\n";

# Neither a client that hangs up in the middle of the answer nor one that never asks may end the server.
local $SIG{PIPE} = 'IGNORE';
while (1) {
    my $guest = $door->accept or next;
    my $question = eval {
        local $SIG{ALRM} = sub { die "too slow\n" };
        alarm 5;
        my $first = <$guest>;
        while (defined(my $line = <$guest>)) { last if $line =~ /^\r?$/ }
        alarm 0;
        $first;
    };
    alarm 0;
    next unless defined $question;
    $question =~ s/\s+\z//;
    print "web: $question\n";
    open my $file, '<', 'site/index.html' or next;
    my $page = do { local $/; <$file> };
    print $guest "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: " . length($page) . "\r\n\r\n$page";
    close $guest;
}
